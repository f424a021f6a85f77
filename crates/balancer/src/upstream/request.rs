//! A request as backends get it: its head, written once however often it is sent, and its body on the way.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method};
use http_body::Frame;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::deadline;
use crate::headers::{elements, push_line};
use crate::text::decimal;

/// Most heads fit.
const HEAD_CAPACITY: usize = 1024;

/// A request's head, without what each try adds to it.
#[derive(Debug)]
pub(crate) struct Head {
    text: Vec<u8>,
    /// Of the body; unknown where it is chunked.
    length: Option<u64>,
    /// Of its trailers only those are sent that were announced (RFC 9110, section 6.6.2).
    announced: Vec<HeaderName>,
    pub(super) is_to_head: bool,
    pub(super) asks_upgrade: bool,
}

impl Head {
    /// The head of a request that `write` gives its fields but for those that say how long its body is.
    pub(crate) fn new(
        method: &Method,
        target: &PathAndQuery,
        headers: &HeaderMap,
        body: &RequestBody,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut text = Vec::with_capacity(HEAD_CAPACITY);
        text.extend_from_slice(method.as_str().as_bytes());
        text.push(b' ');
        if target.as_str().starts_with('?') {
            // "http://shop?page=2" has the path "/", and only there it may be left out.
            text.push(b'/');
        }
        text.extend_from_slice(target.as_str().as_bytes());
        text.extend_from_slice(b" HTTP/1.1\r\n");
        write(&mut text);
        let length = body.exact_length();
        match length {
            None => push_line(&mut text, &TRANSFER_ENCODING, "chunked"),
            // Only methods that mean something to be done with a body say that there is none.
            Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => push_line(&mut text, &CONTENT_LENGTH, decimal(length, &mut [0; 20])),
        }
        Self {
            text,
            length,
            announced: if length.is_none() {
                announced(headers)
            } else {
                Vec::new()
            },
            is_to_head: *method == Method::HEAD,
            asks_upgrade: false,
        }
    }

    /// The same, which also asks to leave HTTP: its backend may agree.
    pub(crate) fn asking_upgrade(self, asks_upgrade: bool) -> Self {
        Self { asks_upgrade, ..self }
    }
}

fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    elements(headers, &TRAILER)
        .filter_map(|name| name.parse().ok())
        .filter(may_be_trailer)
        .collect()
}

/// Whether a field may come after the body: not where it says how the message is to be read, or by whom (RFC 9110,
/// section 6.5.1).
fn may_be_trailer(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "host"
            | "max-forwards"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
    )
}

/// Why sending ended early.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client's body broke off; [`RequestBody`] knows why.
    Body,
    /// The backend takes nothing more.
    Write,
}

/// A request on its way to a backend. Kept by its connection for the next one, since it has the room for its head.
#[derive(Debug)]
pub(super) struct Sending {
    /// The head, or what precedes a chunk.
    lead: Vec<u8>,
    /// A part of the body.
    part: Bytes,
    /// What follows it.
    tail: &'static [u8],
    /// How much of these three was taken.
    written: usize,
    /// Whether anything was, of the whole request.
    has_left: bool,
    body: RequestBody,
    /// What is still to come of it by its length; None where it is chunked.
    left: Option<u64>,
    announced: Vec<HeaderName>,
    /// Whether `body` has been asked for its last part.
    is_body_over: bool,
}

impl Sending {
    pub(super) fn nothing() -> Self {
        Self {
            lead: Vec::new(),
            part: Bytes::new(),
            tail: b"",
            written: 0,
            has_left: false,
            body: RequestBody::Empty,
            left: Some(0),
            announced: Vec::new(),
            is_body_over: true,
        }
    }

    /// Begins with a request whose deadline is this.
    pub(super) fn begin(&mut self, head: &Head, body: RequestBody, now: Instant, deadline: Instant) {
        self.lead.clear();
        self.lead.extend_from_slice(&head.text);
        deadline::write(&mut self.lead, now, deadline);
        self.lead.extend_from_slice(b"\r\n");
        self.part = Bytes::new();
        self.tail = b"";
        self.written = 0;
        self.has_left = false;
        self.is_body_over = matches!(body, RequestBody::Empty);
        self.body = body;
        self.left = head.length;
        self.announced.clone_from(&head.announced);
    }

    /// Whether all of it was taken.
    pub(super) fn is_done(&self) -> bool {
        self.is_body_over && self.lead.is_empty() && self.part.is_empty() && self.tail.is_empty()
    }

    /// Whether anything of the request was taken.
    pub(super) fn has_left(&self) -> bool {
        self.has_left
    }

    /// The body, if nothing of the request has left, nor ever will.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        let has_ended = self.is_body_over && self.left.is_none();
        if self.has_left || has_ended {
            return None;
        }
        let part = std::mem::take(&mut self.part);
        let body = std::mem::replace(&mut self.body, RequestBody::Empty);
        *self = Self::nothing();
        Some(body.with_unsent(part))
    }

    /// Sends as much as can be sent; ready once that is all.
    pub(super) fn poll_send(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            // The first part of a body goes together with the head, if it is there.
            let mut is_waiting = false;
            while !self.is_body_over && self.part.is_empty() && !is_waiting {
                is_waiting = self.poll_part(cx)?.is_pending();
            }
            if self.lead.is_empty() && self.part.is_empty() && self.tail.is_empty() {
                return if is_waiting { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            ready!(self.poll_write(stream, cx)).map_err(|_| SendError::Write)?;
        }
    }

    /// Takes the next part of the body.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SendError> {
        let Poll::Ready(frame) = self.body.poll_next(cx) else {
            return Ok(Poll::Pending);
        };
        match frame.transpose().map_err(|_| SendError::Body)?.map(Frame::into_data) {
            None => self.end(None)?,
            Some(Err(frame)) => self.end(frame.trailers_ref())?,
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => self.send_part(data)?,
        }
        Ok(Poll::Ready(()))
    }

    fn send_part(&mut self, data: Bytes) -> Result<(), SendError> {
        match &mut self.left {
            None => {
                // Writing to a Vec can't fail.
                let _ = write!(self.lead, "{:x}\r\n", data.len());
                self.tail = b"\r\n";
            }
            Some(left) => {
                // More than was said would be the next request.
                *left = left.checked_sub(data.len() as u64).ok_or(SendError::Body)?;
                if *left == 0 {
                    self.is_body_over = true;
                    // Nothing of a client's is kept with a connection that waits for another.
                    self.body = RequestBody::Empty;
                }
            }
        }
        self.part = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), SendError> {
        self.is_body_over = true;
        self.body = RequestBody::Empty;
        match self.left {
            Some(0) => {}
            Some(_) => return Err(SendError::Body),
            None => {
                self.lead.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if self.announced.contains(name) {
                        push_line(&mut self.lead, name, value);
                    }
                }
                self.lead.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let total = self.lead.len() + self.part.len() + self.tail.len();
        while self.written < total {
            let mut slices = [IoSlice::new(b""); 3];
            let mut count = 0;
            let mut skipped = self.written;
            for bytes in [self.lead.as_slice(), &self.part, self.tail] {
                let taken = skipped.min(bytes.len());
                skipped -= taken;
                if taken < bytes.len() {
                    slices[count] = IoSlice::new(&bytes[taken..]);
                    count += 1;
                }
            }
            let stream = Pin::new(&mut *stream);
            let bytes = match &slices[..count] {
                [single] => ready!(stream.poll_write(cx, single))?,
                several => ready!(stream.poll_write_vectored(cx, several))?,
            };
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += bytes;
            self.has_left = true;
        }
        self.lead.clear();
        self.part = Bytes::new();
        self.tail = b"";
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderValue;
    use http::header::HOST;
    use tokio::io::AsyncReadExt as _;

    use super::super::tests::pair;
    use super::*;

    fn head(method: &Method, body: &RequestBody) -> Head {
        let target = PathAndQuery::from_static("/a?b");
        Head::new(method, &target, &HeaderMap::new(), body, |head| {
            push_line(head, &HOST, "shop");
        })
    }

    /// What a backend gets, without the line that says how long it has.
    async fn received(head: &Head, body: RequestBody) -> String {
        let (mut ours, mut theirs) = pair().await;
        let mut sending = Sending::nothing();
        let now = Instant::now();
        sending.begin(head, body, now, now);
        poll_fn(|cx| sending.poll_send(&mut ours, cx)).await.expect("sent");
        assert!(sending.is_done());
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.expect("text");
        text.replacen("x-envoy-expected-rq-timeout-ms: 0\r\n", "", 1)
    }

    #[tokio::test]
    async fn a_request_says_its_own_length_and_how_long_there_is_for_it() {
        for (method, body, rest) in [
            (Method::GET, RequestBody::Empty, "\r\n"),
            (Method::POST, RequestBody::Empty, "content-length: 0\r\n\r\n"),
            (
                Method::POST,
                RequestBody::Kept(Bytes::from_static(b"abc")),
                "content-length: 3\r\n\r\nabc",
            ),
        ] {
            let head = head(&method, &body);
            let expected = format!("{method} /a?b HTTP/1.1\r\nhost: shop\r\n{rest}");
            assert_eq!(received(&head, body).await, expected);
        }
    }

    #[test]
    fn a_target_has_a_path() {
        let target = "http://shop.example?a=b".parse::<http::Uri>().expect("a target");
        let target = target.path_and_query().expect("a query");
        let head = Head::new(&Method::GET, target, &HeaderMap::new(), &RequestBody::Empty, |_| {});
        assert_eq!(head.text, b"GET /?a=b HTTP/1.1\r\n");
    }

    #[tokio::test]
    async fn what_is_not_taken_at_once_goes_on_where_it_stopped() {
        let (mut ours, mut theirs) = pair().await;
        let bytes: Bytes = (0..8 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
        let body = RequestBody::Kept(bytes.clone());
        let head = head(&Method::PUT, &body);
        let mut sending = Sending::nothing();
        let now = Instant::now();
        sending.begin(&head, body, now, now);
        let sent = async {
            let outcome = poll_fn(|cx| sending.poll_send(&mut ours, cx)).await;
            drop(ours);
            outcome
        };
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(sent, theirs.read_to_end(&mut received));
        sent.expect("sent");
        read.expect("received");
        assert!(received.ends_with(&bytes));
        let start = received.len() - bytes.len();
        assert!(received[..start].ends_with(b"content-length: 8388608\r\nx-envoy-expected-rq-timeout-ms: 0\r\n\r\n"));
    }

    #[tokio::test]
    async fn a_body_that_could_not_be_sent_comes_back() {
        let (mut ours, theirs) = pair().await;
        // A connection that ends with something unread is reset.
        ours.try_write(b"unread").expect("sent");
        theirs.readable().await.expect("there");
        drop(theirs);
        let _ = ours.read(&mut [0]).await.expect_err("reset");
        let body = RequestBody::Kept(Bytes::from_static(b"abc"));
        let head = head(&Method::POST, &body);
        let mut sending = Sending::nothing();
        let now = Instant::now();
        sending.begin(&head, body, now, now);
        let outcome = poll_fn(|cx| sending.poll_send(&mut ours, cx)).await;
        assert!(matches!(outcome, Err(SendError::Write)));
        assert!(matches!(sending.take_back(), Some(RequestBody::Kept(bytes)) if bytes == "abc"));
    }

    #[test]
    fn only_announced_trailers_that_say_nothing_of_the_message_are_sent() {
        let headers = HeaderMap::from_iter([(
            TRAILER,
            HeaderValue::from_static("X-Sum, Content-Length ,nonsense here"),
        )]);
        let mut sending = Sending::nothing();
        sending.left = None;
        sending.announced = announced(&headers);
        let sent = HeaderMap::from_iter([
            ("x-sum".parse().expect("a name"), HeaderValue::from_static("1")),
            ("x-other".parse().expect("a name"), HeaderValue::from_static("2")),
            (CONTENT_LENGTH, HeaderValue::from_static("3")),
        ]);
        sending.end(Some(&sent)).expect("ended");
        assert_eq!(sending.lead, b"0\r\nx-sum: 1\r\n\r\n");
    }

    #[test]
    fn a_body_is_as_long_as_was_said() {
        for parts in [&["ab", "cd"][..], &["abcd"], &["a"]] {
            let mut sending = Sending::nothing();
            sending.left = Some(3);
            let sent = parts
                .iter()
                .try_for_each(|part| sending.send_part(Bytes::from_static(part.as_bytes())));
            assert!(
                matches!(sent.and_then(|()| sending.end(None)), Err(SendError::Body)),
                "{parts:?}"
            );
        }
    }
}
