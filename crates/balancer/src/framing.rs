//! Watches the raw bytes of a client's connection for requests whose length can be read in two ways.
//!
//! hyper resolves `Content-Length` together with `Transfer-Encoding` by the rule of RFC 9112 and drops the former, so
//! nobody behind it can see that both were there. They are a tool of request smuggling, and are refused here. Three other
//! duties fall off: a request head that doesn't end in time ends the connection, and so does a client that hardly takes
//! what it is sent; and a client that is still sending when it was answered gets the answer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::patience::Patience;

/// Longest start of a line that is kept when a head arrives in pieces: a name and a length fit easily. A length in a
/// longer line is refused, in whatever pieces it arrives.
const LINE_BYTES_KEPT: usize = 96;
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// After the last answer the connection stays half open for so long, or until the client has closed its side. A socket
/// that is closed with bytes unread resets the connection, and the client, still sending what was refused as too large,
/// would lose the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// Nobody is listened to for more than this meanwhile.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Follows the framing of requests on one connection, byte by byte, without understanding more than it must.
#[derive(Debug)]
struct FramingScan {
    state: State,
    /// The start of a line that was cut by the end of a read.
    partial: Vec<u8>,
    partial_is_cut: bool,
    seen_request_line: bool,
    /// Whether the first head has ended.
    has_begun: bool,
    has_length: bool,
    has_encoding: bool,
    length: u64,
    is_ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    /// After a chunked request, which is the last on its connection, or after something that will be refused.
    Unwatched,
}

impl FramingScan {
    fn new() -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            partial_is_cut: false,
            seen_request_line: false,
            has_begun: false,
            has_length: false,
            has_encoding: false,
            length: 0,
            is_ambiguous: false,
        }
    }

    fn is_within_head(&self) -> bool {
        self.state == State::Head && (self.seen_request_line || !self.partial.is_empty())
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Unwatched => return,
                State::Body(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[usize::try_from(taken).unwrap_or(bytes.len())..];
                    self.state = if taken == left {
                        State::Head
                    } else {
                        State::Body(left - taken)
                    };
                }
                State::Head => match memchr::memchr(b'\n', bytes) {
                    None => {
                        self.keep(bytes);
                        return;
                    }
                    Some(end) if self.partial.is_empty() => {
                        self.line(&bytes[..end]);
                        bytes = &bytes[end + 1..];
                    }
                    Some(end) => {
                        self.keep(&bytes[..end]);
                        let line = std::mem::take(&mut self.partial);
                        self.line(&line);
                        self.partial_is_cut = false;
                        bytes = &bytes[end + 1..];
                    }
                },
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_KEPT.saturating_sub(self.partial.len());
        self.partial_is_cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        let is_long = self.partial_is_cut || line.len() > LINE_BYTES_KEPT;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // Empty lines before a request are skipped, as by RFC 9112 section 2.2.
            if self.seen_request_line {
                self.end_of_head();
            }
        } else if !self.seen_request_line {
            self.seen_request_line = true;
        } else if starts_with_name(line, b"transfer-encoding") {
            self.has_encoding = true;
        } else if starts_with_name(line, b"content-length") {
            let value = line["content-length:".len()..].trim_ascii();
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            let differs = self.has_length && length != Some(self.length);
            self.has_length = true;
            match length {
                Some(length) if !is_long && !differs => self.length = length,
                _ => self.is_ambiguous = true,
            }
        }
    }

    fn end_of_head(&mut self) {
        self.is_ambiguous |= self.has_length && self.has_encoding;
        self.state = if self.has_encoding || self.is_ambiguous {
            State::Unwatched
        } else if self.length > 0 {
            State::Body(self.length)
        } else {
            State::Head
        };
        self.has_begun = true;
        self.seen_request_line = false;
        self.has_length = false;
        self.has_encoding = false;
        self.length = 0;
    }
}

fn starts_with_name(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name)
}

/// A client's connection under watch.
#[derive(Debug)]
pub(crate) struct WatchedStream {
    stream: TcpStream,
    scan: FramingScan,
    is_ambiguous: Rc<Cell<bool>>,
    head_deadline: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    linger: Option<Pin<Box<Sleep>>>,
    lingered_bytes: usize,
}

impl WatchedStream {
    /// The cell is set once a request of ambiguous length was seen; it is never cleared, since nothing that follows
    /// on the connection can be trusted. A client may keep its answers waiting for as long as `stall_max`.
    pub(crate) fn new(stream: TcpStream, stall_max: Duration) -> (Self, Rc<Cell<bool>>) {
        let is_ambiguous = Rc::new(Cell::new(false));
        let scan = FramingScan::new();
        (
            Self {
                stream,
                scan,
                is_ambiguous: is_ambiguous.clone(),
                head_deadline: None,
                patience: Patience::new(stall_max),
                linger: None,
                lingered_bytes: 0,
            },
            is_ambiguous,
        )
    }

    /// The first request has to come soon, too: a connection that asks nothing is in the way of others.
    pub(crate) fn expect_request(&mut self) {
        self.head_deadline = Some(Box::pin(tokio::time::sleep(HEAD_DEADLINE)));
    }

    /// Reads what nobody wants, until the client is done or its time is over.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut unwanted = [0; 8 * 1024];
        while self.lingered_bytes < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut unwanted);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.lingered_bytes += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    return match &mut self.linger {
                        Some(linger) => linger.as_mut().poll(cx),
                        None => Poll::Ready(()),
                    };
                }
            }
        }
        Poll::Ready(())
    }

    fn after_read(&mut self, bytes: &[u8]) {
        self.scan.feed(bytes);
        if self.scan.is_ambiguous {
            self.is_ambiguous.set(true);
        }
        if self.scan.is_within_head() {
            self.head_deadline
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_DEADLINE)));
        } else if self.scan.has_begun {
            self.head_deadline = None;
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let filled_before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() {
            if let Some(deadline) = &mut this.head_deadline {
                ready!(deadline.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return Poll::Pending;
        }
        this.after_read(&buffer.filled()[filled_before..]);
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.patience.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.patience.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        this.poll_discard(cx).map(Ok)
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const STALL_MAX: Duration = Duration::from_secs(30);

    /// A watched connection, and the client's end of it.
    async fn connection() -> (WatchedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (watched, _) = WatchedStream::new(accepted.expect("accepted").0, STALL_MAX);
        (watched, client.expect("connected"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut watched, _client) = connection().await;
        let began = tokio::time::Instant::now();
        let chunk = vec![0; 64 * 1024];
        let error = loop {
            if let Err(error) = watched.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= STALL_MAX);
    }

    #[tokio::test]
    async fn who_is_still_sending_gets_the_answer() {
        let (mut watched, mut client) = connection().await;
        let serving = async {
            let mut start = [0; 100];
            watched.read_exact(&mut start).await.expect("the start of a request");
            watched.write_all(b"too large").await.expect("sent");
            watched.shutdown().await.expect("closed");
            drop(watched);
        };
        let sending = async {
            client.write_all(&vec![0; 3 << 20]).await.expect("all of it is taken");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("an answer");
            drop(client);
            answer
        };
        let ((), answer) = tokio::join!(serving, sending);
        assert_eq!(answer, "too large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_closes_is_not_waited_for() {
        let (mut watched, _client) = connection().await;
        let began = tokio::time::Instant::now();
        watched.shutdown().await.expect("closed");
        assert!(began.elapsed() >= LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_that_never_comes_is_given_up_where_it_is_expected() {
        let (mut watched, mut client) = connection().await;
        watched.expect_request();
        // Empty lines are allowed before a request, and are none.
        client.write_all(b"\r\n").await.expect("sent");
        let mut buffer = [0; 64];
        assert_eq!(watched.read(&mut buffer).await.expect("an empty line"), 2);
        let error = watched.read(&mut buffer).await.expect_err("nothing came");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Scans the bytes in pieces of every size, which must make no difference.
    fn is_ambiguous(bytes: &[u8]) -> bool {
        let mut verdicts = (1..=bytes.len()).map(|size| {
            let mut scan = FramingScan::new();
            bytes.chunks(size).for_each(|piece| scan.feed(piece));
            scan.is_ambiguous
        });
        let first = verdicts.next().expect("some bytes");
        assert!(
            verdicts.all(|verdict| verdict == first),
            "the verdict depends on how the bytes arrive"
        );
        first
    }

    #[test]
    fn both_lengths_are_seen_in_either_order_and_any_case() {
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\nHost: a\r\nCONTENT-length: 3\r\n\r\n"
        ));
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n"
        ));
    }

    #[test]
    fn lengths_that_differ_or_are_no_numbers_are_seen() {
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"
        ));
        assert!(is_ambiguous(b"POST / HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\n"));
        assert!(is_ambiguous(b"POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n"));
    }

    #[test]
    fn honest_requests_pass_one_after_the_other() {
        let bytes = b"\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
            GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(!is_ambiguous(bytes));
    }

    #[test]
    fn a_second_request_is_watched_like_the_first() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(is_ambiguous(bytes));
    }

    #[test]
    fn bodies_are_not_read_as_heads() {
        let body = b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n";
        let mut bytes = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        assert!(!is_ambiguous(&bytes));
    }

    #[test]
    fn a_head_that_has_not_ended_is_known_as_such() {
        let mut scan = FramingScan::new();
        assert!(!scan.is_within_head());
        scan.feed(b"GET / HT");
        assert!(scan.is_within_head());
        scan.feed(b"TP/1.1\r\nHost: a\r\n");
        assert!(scan.is_within_head());
        scan.feed(b"\r\n");
        assert!(!scan.is_within_head());
    }
}
