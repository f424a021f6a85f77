//! WebSocket: a request that asks to leave HTTP, and the tunnel that follows if its backend agrees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use shop_front::Tunnel;

use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::forward::Answer;
use crate::headers::{self, Failover, lists, push_line};
use crate::upstream::Lease;
use crate::worker::Worker;

/// The only protocol that anybody may switch to. HTTP/2 could be asked for in the same way, and would carry requests
/// past everything that looks at them here.
const WEBSOCKET: &str = "websocket";

/// A client that wants to leave HTTP.
pub(crate) struct Wish {
    way: Way,
    on_client: OnUpgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A connection of HTTP/1.1 switches protocols (RFC 9110, section 7.8).
    Switch,
    /// A stream of HTTP/2 is connected (RFC 8441).
    Connect,
}

impl Wish {
    /// What the request asks for, if that is a WebSocket. From then on it is one that HTTP/1.1 could have asked.
    pub(crate) fn of(parts: &mut Parts) -> Option<Self> {
        if parts.headers.contains_key(CONTENT_LENGTH) || parts.headers.contains_key(TRANSFER_ENCODING) {
            return None;
        }
        let way = match (parts.version, &parts.method) {
            (Version::HTTP_11, &Method::GET) if is_asked_for(&parts.headers) => Way::Switch,
            (Version::HTTP_2, &Method::CONNECT) if is_named(parts.extensions.get::<Protocol>()?) => Way::Connect,
            _ => return None,
        };
        let on_client = parts.extensions.remove::<OnUpgrade>()?;
        if way == Way::Connect {
            parts.method = Method::GET;
            let nonce = HeaderValue::try_from(BASE64.encode(rand::random::<[u8; 16]>()));
            parts.headers.insert(SEC_WEBSOCKET_KEY, nonce.ok()?);
        }
        Some(Self { way, on_client })
    }

    /// Whether this status tells the client that HTTP is left (RFC 8441, section 5), though its backend has not done so.
    pub(crate) fn takes_for_consent(&self, status: StatusCode) -> bool {
        self.way == Way::Connect && status.is_success()
    }

    /// Passes the backend's consent on to the client, and from then on whatever both say.
    pub(crate) fn grant(
        self,
        tunnel: Tunnel,
        answer: Answer,
        worker: &Worker,
        mut exchange: Exchange,
        failovers: &[Failover],
    ) -> Response<ResponseBody> {
        let Lease { connection, place, .. } = answer.lease;
        tokio::task::spawn_local(async move {
            // Until the end it is a connection to this backend, and counts as one.
            let _place = place;
            if let Ok(client) = self.on_client.await {
                tunnel.run(client, connection.into_tunnel()).await;
            }
        });
        let (mut parts, _) = answer.response.into_parts();
        headers::forward_response(&mut parts.headers);
        match self.way {
            Way::Switch => {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                parts.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            }
            Way::Connect => {
                parts.status = StatusCode::OK;
                parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
                parts.headers.remove(CONTENT_LENGTH);
            }
        }
        exchange.status = parts.status;
        crate::proxy::sign(&mut parts.headers, worker, &exchange, failovers);
        Response::from_parts(parts, ResponseBody::own(Bytes::new(), exchange))
    }
}

/// Whether these headers ask for a WebSocket.
fn is_asked_for(headers: &HeaderMap) -> bool {
    let is_nominated = lists(headers, &CONNECTION, "upgrade");
    let mut protocols = headers.get_all(UPGRADE).iter();
    let is_websocket = protocols.next().is_some_and(|protocol| is_named(protocol.as_bytes()));
    is_nominated && is_websocket && protocols.next().is_none()
}

/// Asks a backend for a WebSocket.
pub(crate) fn write_wish(head: &mut Vec<u8>) {
    push_line(head, &CONNECTION, "upgrade");
    push_line(head, &UPGRADE, WEBSOCKET);
}

fn is_named(protocol: impl AsRef<[u8]>) -> bool {
    protocol.as_ref().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}
