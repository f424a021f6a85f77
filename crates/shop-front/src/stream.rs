//! A client's connection under watch: its framing, the time it takes, and how it ends.
//!
//! A request head that doesn't end in time ends the connection, and so does a client that hardly takes what it is sent;
//! and a client that is still sending when it was answered gets the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::framing::FramingScan;
use crate::patience::Patience;

pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// After the last answer the connection stays half open for so long, or until the client has closed its side. A socket
/// that is closed with bytes unread resets the connection, and the client, still sending what was refused as too large,
/// would lose the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// Nobody is listened to for more than this meanwhile.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What carries HTTP.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The same for both.
macro_rules! on_either {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Transport::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(&mut *self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(&mut *self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, stream => stream.poll_shutdown(cx))
    }
}

/// What the stream has seen, for those who can't ask it because hyper has it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Set once a request of ambiguous length was seen; never cleared, since nothing that follows on the connection can
    /// be trusted.
    is_ambiguous: AtomicBool,
    /// Whether all that hyper had to write was taken.
    is_flushed: AtomicBool,
    /// Whether hyper has all that came, waits for more, and nothing of a request is among what it has. It reads only
    /// when its buffer holds nothing that it could go on with, so that it keeps nothing but empty lines then. Never
    /// while the connection is being closed, which is a wait for the client, too.
    is_resting: AtomicBool,
}

impl Seen {
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous.load(Relaxed)
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Relaxed)
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.is_resting.load(Relaxed)
    }
}

/// A client's connection under watch.
#[derive(Debug)]
pub(crate) struct WatchedStream {
    stream: Transport,
    scan: FramingScan,
    seen: Arc<Seen>,
    head_deadline: Option<Pin<Box<Sleep>>>,
    patience: Patience,
    linger: Option<Pin<Box<Sleep>>>,
    lingered_bytes: usize,
}

impl WatchedStream {
    /// A client may keep its answers waiting for as long as `stall_max`.
    pub(crate) fn new(stream: Transport, stall_max: Duration) -> Self {
        let seen = Arc::new(Seen {
            is_ambiguous: AtomicBool::new(false),
            is_flushed: AtomicBool::new(true),
            is_resting: AtomicBool::new(false),
        });
        Self::watch(stream, seen, stall_max)
    }

    /// Watches a connection again that was taken apart between two requests.
    pub(crate) fn resume(stream: TcpStream, seen: Arc<Seen>, stall_max: Duration) -> Self {
        seen.is_resting.store(false, Relaxed);
        Self::watch(Transport::Plain(stream), seen, stall_max)
    }

    fn watch(stream: Transport, seen: Arc<Seen>, stall_max: Duration) -> Self {
        Self {
            stream,
            scan: FramingScan::new(),
            seen,
            head_deadline: None,
            patience: Patience::new(stall_max),
            linger: None,
            lingered_bytes: 0,
        }
    }

    /// What it has seen, and will see.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.seen.clone()
    }

    /// What is left when nothing of it is needed between two requests. TLS has more to keep than that.
    pub(crate) fn take_apart(self) -> Option<(TcpStream, Arc<Seen>)> {
        match self.stream {
            Transport::Plain(stream) if self.scan.is_between_requests() => Some((stream, self.seen)),
            _ => None,
        }
    }

    /// The first request has to come soon, too: a connection that asks nothing is in the way of others.
    pub(crate) fn expect_request(&mut self) {
        self.head_deadline = Some(Box::pin(tokio::time::sleep(HEAD_DEADLINE)));
    }

    /// What follows is not HTTP/1.1.
    pub(crate) fn stop_scanning(&mut self) {
        self.scan.stop();
    }

    /// No longer watched.
    pub(crate) fn into_transport(self) -> Transport {
        self.stream
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

    fn is_resting(&self) -> bool {
        let is_plain = matches!(self.stream, Transport::Plain(_));
        is_plain && self.head_deadline.is_none() && self.scan.is_between_requests()
    }

    fn after_read(&mut self, bytes: &[u8]) {
        self.scan.feed(bytes);
        if self.scan.is_ambiguous {
            self.seen.is_ambiguous.store(true, Relaxed);
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
        this.seen
            .is_resting
            .store(read.is_pending() && this.is_resting(), Relaxed);
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
        self.seen.is_flushed.store(false, Relaxed);
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.patience.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.seen.is_flushed.store(false, Relaxed);
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.patience.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.seen.is_flushed.store(true, Relaxed);
        }
        // TLS may have taken what the client has not; in the clear there is nothing to wait for.
        self.patience.after_write(cx, flushed.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            // TLS has a last word to say, which a client may not take.
            let closed = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.patience.after_write(cx, closed.map_ok(|()| 0)))?;
            this.seen.is_resting.store(false, Relaxed);
            this.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        this.poll_discard(cx).map(Ok)
    }
}

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
        let watched = WatchedStream::new(Transport::Plain(accepted.expect("accepted").0), STALL_MAX);
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
}
