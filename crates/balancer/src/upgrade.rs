//! WebSocket: a request that asks to leave HTTP, and the tunnel that follows if its backend agrees.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use hyper::upgrade::OnUpgrade;
use shop_front::Tunnel;

use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::forward::Answer;
use crate::headers::{self, Failover};
use crate::worker::Worker;

/// The only protocol that anybody may switch to. HTTP/2 could be asked for in the same way, and would carry requests
/// past everything that looks at them here.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A client that wants to leave HTTP.
pub(crate) struct Wish {
    on_client: OnUpgrade,
}

impl Wish {
    /// What the request asks for, if it is a WebSocket over HTTP/1.1.
    pub(crate) fn of(parts: &mut Parts) -> Option<Self> {
        let asks = parts.version == Version::HTTP_11
            && parts.method == Method::GET
            && is_asked_for(&parts.headers)
            && !parts.headers.contains_key(CONTENT_LENGTH)
            && !parts.headers.contains_key(TRANSFER_ENCODING);
        if !asks {
            return None;
        }
        let on_client = parts.extensions.remove::<OnUpgrade>()?;
        Some(Self { on_client })
    }

    /// Passes the backend's consent on to the client, and from then on whatever both say.
    pub(crate) fn grant(
        self,
        tunnel: Tunnel,
        mut answer: Answer,
        worker: &Worker,
        mut exchange: Exchange,
        failovers: &[Failover],
    ) -> Response<ResponseBody> {
        let on_backend = hyper::upgrade::on(&mut answer.response);
        let lease = answer.lease;
        tokio::task::spawn_local(async move {
            // Until the end it is a connection to this backend, and counts as one.
            let _lease = lease;
            if let (Ok(client), Ok(backend)) = tokio::join!(self.on_client, on_backend) {
                tunnel.run(client, backend).await;
            }
        });
        let (mut parts, _) = answer.response.into_parts();
        exchange.status = parts.status;
        headers::forward_response(&mut parts.headers);
        ask(&mut parts.headers);
        crate::proxy::sign(&mut parts.headers, worker, &exchange, failovers);
        Response::from_parts(parts, ResponseBody::own(Bytes::new(), exchange))
    }
}

/// Whether these headers ask for a WebSocket, or agree to one.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    let is_nominated = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let mut protocols = headers.get_all(UPGRADE).iter();
    let is_websocket = protocols
        .next()
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    is_nominated && is_websocket && protocols.next().is_none()
}

/// Asks the next one for a WebSocket, or agrees to one.
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}
