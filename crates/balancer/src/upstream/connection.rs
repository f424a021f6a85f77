//! One connection to a backend: HTTP/1.1 (RFC 9112) as a client speaks it, one request at a time.
//!
//! Whoever's request it carries polls it. So what is left of a body once its answer has begun goes on only while the
//! answer is taken, and no farther than its end.
//!
//! A connection with a task of its own, as hyper's client has, costs each request three ways through channels and two
//! more tasks that have to be woken: a quarter of all that is done for it here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::answer::{self, Framing};
use super::chunked::{Chunked, Piece};
use super::fields;
use super::request::{Head, SendError, Sending};
use super::{nonsense, take_part};
use crate::body::RequestBody;

/// Least and most that is read at a time: a photo's 64 KiB come together with their head.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 80 * 1024;
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = READ_BYTES_MAX;
/// Answers like "103 Early Hints" that may precede the one that counts.
const INTERIM_MAX: u32 = 8;

/// What is left of an answer's body.
#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunks(Chunked),
    /// All that comes until the connection is closed.
    Rest,
}

impl Left {
    const NOTHING: Self = Self::Bytes(0);
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Nothing of the request has left. This is its body.
    Unsent(RequestBody),
    /// The connection has broken. The request may have arrived.
    Broken,
    /// What came is no answer, or one that may be read in several ways.
    Nonsense,
}

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What has come and was not looked at yet.
    input: BytesMut,
    /// How much is read at a time, by what came before.
    read_bytes: usize,
    sending: Sending,
    is_to_head: bool,
    asks_upgrade: bool,
    /// Heads that were none of the answer that counts.
    interim: u32,
    left: Left,
    /// Whether another request may follow.
    is_persistent: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            sending: Sending::nothing(),
            is_to_head: false,
            asks_upgrade: false,
            interim: 0,
            left: Left::NOTHING,
            is_persistent: true,
        }
    }

    /// Whether it can carry another request.
    pub(super) fn is_idle(&self) -> bool {
        self.is_persistent && self.sending.is_done() && self.is_end_stream() && self.input.is_empty()
    }

    /// Whether the backend has neither closed it nor said anything, as far as the event loop has heard. Costs a system
    /// call only if it has.
    pub(crate) fn is_alive(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match self.stream.poll_read_ready(&mut context) {
            Poll::Pending => true,
            Poll::Ready(Err(_)) => false,
            Poll::Ready(Ok(())) => {
                let read = self.stream.try_read(&mut [0]);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Begins with a request, of which nothing is sent before the answer is asked for.
    pub(crate) fn begin(&mut self, head: &Head, body: RequestBody, now: Instant, deadline: Instant) {
        self.sending.begin(head, body, now, deadline);
        self.is_to_head = head.is_to_head;
        self.asks_upgrade = head.asks_upgrade;
        self.interim = 0;
    }

    /// Sends the request, and reads the head of its answer. "101 Switching Protocols" is one only where it was asked for.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, NoAnswer>> {
        loop {
            if let Err(error) = self.send(cx) {
                let unsent = match error {
                    SendError::Write => self.sending.take_back(),
                    SendError::Body => None,
                };
                return Poll::Ready(Err(unsent.map_or(NoAnswer::Broken, NoAnswer::Unsent)));
            }
            while let Some(answer) = self.take_head().map_err(|_| NoAnswer::Nonsense)? {
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    // Nobody may switch protocols who was not asked to.
                    let outcome = self.asks_upgrade.then_some(answer).ok_or(NoAnswer::Nonsense);
                    return Poll::Ready(outcome);
                }
                if !answer.status().is_informational() {
                    return Poll::Ready(Ok(answer));
                }
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Poll::Ready(Err(NoAnswer::Nonsense));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(bytes) if bytes > 0 => {}
                _ => return Poll::Ready(Err(NoAnswer::Broken)),
            }
        }
    }

    /// Sends as much of the request as can be sent. A backend that takes no more of it may have answered all the same:
    /// that is what one does to whom sends too much. So that is an error only if nothing has left.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        match self.sending.poll_send(&mut self.stream, cx) {
            Poll::Ready(Err(SendError::Write)) if self.sending.has_left() => {
                self.sending = Sending::nothing();
                self.is_persistent = false;
                Ok(())
            }
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
    }

    fn take_head(&mut self) -> io::Result<Option<Response<()>>> {
        let Some(end) = fields::end_of_block(&self.input) else {
            // Where lines end in bare line feeds, no end would ever be found.
            return if self.input.len() > HEAD_BYTES_MAX || memchr::memmem::find(&self.input, b"\n\n").is_some() {
                Err(nonsense("a head without an end"))
            } else {
                Ok(None)
            };
        };
        if end > HEAD_BYTES_MAX {
            return Err(nonsense("a head that is too long"));
        }
        let answer = answer::parse(&self.input.split_to(end).freeze())?;
        self.left = match answer::framing_of(&answer, self.is_to_head)? {
            Framing::Length(bytes) => Left::Bytes(bytes),
            Framing::Chunked => Left::Chunks(Chunked::default()),
            Framing::Close => Left::Rest,
        };
        self.is_persistent &= answer::is_persistent(&answer) && !matches!(self.left, Left::Rest);
        Ok(Some(answer))
    }

    /// The next part of the answer's body, or its trailers. What is left of the request is sent meanwhile.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.sending.is_done() && self.send(cx).is_err() {
            // Its client is to blame. The backend is told by the end of what it is sent, and may say what it has to say.
            self.sending = Sending::nothing();
            self.is_persistent = false;
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        loop {
            let piece = match &mut self.left {
                Left::Bytes(0) => Piece::End,
                Left::Bytes(_) | Left::Rest if self.input.is_empty() => Piece::Missing,
                Left::Bytes(left) => Piece::Data(take_part(&mut self.input, left)),
                Left::Rest => Piece::Data(self.input.split().freeze()),
                Left::Chunks(chunked) => chunked.next(&mut self.input)?,
            };
            return Poll::Ready(match piece {
                Piece::Data(data) => Some(Ok(Frame::data(data))),
                Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                Piece::End => None,
                Piece::Missing => match ready!(self.poll_fill(cx)) {
                    Err(error) => Some(Err(error)),
                    Ok(0) if matches!(self.left, Left::Rest) => {
                        self.left = Left::NOTHING;
                        None
                    }
                    Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                    Ok(_) => continue,
                },
            });
        }
    }

    /// Whether the answer's body is known to have ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.left, Left::Bytes(0) | Left::Chunks(Chunked::Ended))
    }

    /// What is left of the answer's body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Bytes(bytes) => SizeHint::with_exact(bytes),
            Left::Chunks(_) | Left::Rest => SizeHint::default(),
        }
    }

    /// What both sides say once they have left HTTP.
    pub(crate) fn into_tunnel(self) -> impl AsyncRead + AsyncWrite {
        let (from_backend, to_backend) = self.stream.into_split();
        tokio::io::join(io::Cursor::new(self.input.freeze()).chain(from_backend), to_backend)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.read_bytes);
        let bytes = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?;
        if bytes >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::uri::PathAndQuery;
    use http::{HeaderMap, Method};
    use tokio::io::AsyncWriteExt as _;

    use super::super::tests::pair;
    use super::*;

    /// What becomes of an answer.
    struct Read {
        head: Result<Response<()>, NoAnswer>,
        body: Vec<u8>,
        trailers: usize,
        is_whole: bool,
        /// Whether another request may follow.
        is_idle: bool,
    }

    async fn read(method: Method, answer: &str) -> Read {
        let (stream, mut backend) = pair().await;
        let mut connection = Connection::new(stream);
        let path = PathAndQuery::from_static("/");
        let head = Head::new(&method, &path, &HeaderMap::new(), &RequestBody::Empty, |_| {});
        connection.begin(&head, RequestBody::Empty, Instant::now(), Instant::now());
        let answering = async {
            // One byte after the other, as far as the kernel keeps them apart.
            for byte in answer.bytes() {
                backend.write_all(&[byte]).await.expect("sent");
                tokio::task::yield_now().await;
            }
            backend.shutdown().await.expect("closed");
        };
        let reading = async {
            let head = poll_fn(|cx| connection.poll_answer(cx)).await;
            let (mut body, mut trailers, mut is_whole) = (Vec::new(), 0, false);
            while head.is_ok() && !is_whole {
                match poll_fn(|cx| connection.poll_frame(cx)).await {
                    None => is_whole = true,
                    Some(Err(_)) => break,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => body.extend_from_slice(&data),
                        Err(frame) => trailers += frame.into_trailers().expect("trailers").len(),
                    },
                }
            }
            let is_idle = connection.is_idle();
            Read {
                head,
                body,
                trailers,
                is_whole,
                is_idle,
            }
        };
        tokio::join!(answering, reading).1
    }

    #[tokio::test]
    async fn a_whole_answer_leaves_the_connection_to_the_next_request() {
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                "abc",
            ),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
                "a",
            ),
        ] {
            let read = read(Method::GET, answer).await;
            assert!(read.is_whole && read.is_idle, "{answer}");
            assert_eq!(read.body, body.as_bytes(), "{answer}");
        }
        let to_head = read(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").await;
        assert!(to_head.is_whole && to_head.is_idle && to_head.body.is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_ends_with_its_answer_is_not_kept() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\nabc",
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        ] {
            let read = read(Method::GET, answer).await;
            assert_eq!((read.is_whole, read.is_idle), (true, false), "{answer}");
            assert_eq!(read.body, b"abc", "{answer}");
        }
    }

    #[tokio::test]
    async fn what_is_cut_short_is_seen_to_be_so() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
        ] {
            let read = read(Method::GET, answer).await;
            assert!(read.head.is_ok() && !read.is_whole, "{answer}");
        }
        for nothing in ["", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"] {
            let read = read(Method::GET, nothing).await;
            assert!(matches!(read.head, Err(NoAnswer::Broken)), "{nothing}");
        }
    }

    #[tokio::test]
    async fn nonsense_is_no_answer() {
        let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_MAX as usize + 1);
        for answer in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            &endless,
        ] {
            let read = read(Method::GET, answer).await;
            assert!(matches!(read.head, Err(NoAnswer::Nonsense)), "{answer}");
        }
    }

    #[tokio::test]
    async fn trailers_follow_the_last_chunk() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n";
        let read = read(Method::GET, answer).await;
        assert!(read.is_whole && read.is_idle);
        assert_eq!((read.body.as_slice(), read.trailers), (b"a".as_slice(), 1));
    }
}
