//! What moves a connection to a backend on.
//!
//! hyper wants a connection polled beside the requests that go over it. In a task of its own that would cost each request
//! four changes between two tasks. So whoever waits for something on a connection polls it along, and an idle one is looked
//! at now and then, and when somebody takes it from the pool.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// hyper's half of a connection.
pub(crate) struct Driver {
    /// None where it runs by itself, or has ended.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
    /// Whether somebody has begun to wait for something.
    is_awaited: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Driver")
            .field("is_awaited", &self.is_awaited)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Of a connection that was just made.
    pub(crate) fn of(connection: impl Future<Output = hyper::Result<()>> + 'static) -> Self {
        Self {
            connection: Some(Box::pin(connection)),
            is_awaited: false,
        }
    }

    /// Polls for what the connection shall bring, and the connection as far as that is needed.
    ///
    /// hyper's two halves wake each other. Here they are one task, which would be woken by what it has just done: so what
    /// has come is taken with nobody to wake, and only then, if it wasn't enough, the socket is told whom to wake.
    pub(crate) fn poll_for<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let quiet = &mut Context::from_waker(Waker::noop());
        // To what is only being sent there is no answer yet.
        if self.connection.is_some() && std::mem::replace(&mut self.is_awaited, true) {
            if let Poll::Ready(outcome) = poll(quiet) {
                return Poll::Ready(outcome);
            }
            self.step(quiet);
            if let Poll::Ready(outcome) = poll(quiet) {
                return Poll::Ready(outcome);
            }
        }
        self.step(cx);
        match self.connection {
            Some(_) => poll(quiet),
            // It runs by itself, or has ended.
            None => poll(cx),
        }
    }

    /// Takes note of what has come to an idle connection. Nobody is woken for it any more.
    pub(crate) fn look(&mut self) {
        self.is_awaited = false;
        self.step(&mut Context::from_waker(Waker::noop()));
    }

    fn step(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            // Its errors reach whoever waits for an answer on it; an idle one just ends.
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// From now on the connection moves on by itself.
    pub(crate) fn run_apart(&mut self) {
        if let Some(connection) = self.connection.take() {
            tokio::task::spawn_local(async move {
                let _ = connection.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    use bytes::Bytes;
    use http::Request;
    use http_body::Body as _;
    use http_body_util::Empty;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test]
    async fn an_answer_wakes_once_and_the_connection_can_be_used_again() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.expect("a connection");
        let mut driver = Driver::of(connection);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let cx = &mut Context::from_waker(&waker);
        for turn in 1..=3 {
            driver.look();
            let mut sending = Box::pin(sender.try_send_request(Request::new(Empty::<Bytes>::new())));
            assert!(driver.poll_for(cx, |cx| sending.as_mut().poll(cx)).is_pending());
            let mut request = [0; 256];
            assert!(theirs.read(&mut request).await.expect("a request") > 0);
            theirs.write_all(ANSWER).await.expect("answered");
            assert_eq!(woken.0.load(Relaxed), turn);
            let Poll::Ready(Ok(response)) = driver.poll_for(cx, |cx| sending.as_mut().poll(cx)) else {
                panic!("no answer");
            };
            let mut body = response.into_body();
            let frame = poll_fn(|cx| driver.poll_for(cx, |cx| Pin::new(&mut body).poll_frame(cx))).await;
            assert_eq!(frame.expect("a frame").expect("sound").into_data().expect("data"), "ok");
            assert!(sender.is_ready());
            assert_eq!(woken.0.load(Relaxed), turn, "nothing but the socket wakes");
        }
        drop(theirs);
        driver.look();
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn a_body_in_pieces_arrives_whole() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.expect("a connection");
        let mut driver = Driver::of(connection);
        let answering = async move {
            let mut request = [0; 256];
            assert!(theirs.read(&mut request).await.expect("a request") > 0);
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            theirs.write_all(head).await.expect("answered");
            for _ in 0..50 {
                theirs.write_all(b"5\r\nhello\r\n").await.expect("answered");
                tokio::task::yield_now().await;
            }
            theirs.write_all(b"0\r\n\r\n").await.expect("answered");
            theirs
        };
        let asking = async {
            let mut sending = Box::pin(sender.try_send_request(Request::new(Empty::<Bytes>::new())));
            let sent = poll_fn(|cx| driver.poll_for(cx, |cx| sending.as_mut().poll(cx))).await;
            let mut body = sent
                .map_err(|failure| failure.into_error())
                .expect("an answer")
                .into_body();
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|cx| driver.poll_for(cx, |cx| Pin::new(&mut body).poll_frame(cx))).await {
                bytes += frame.expect("sound").into_data().map_or(0, |data| data.len());
            }
            bytes
        };
        let (_theirs, bytes) = tokio::join!(answering, asking);
        assert_eq!(bytes, 250);
    }
}
