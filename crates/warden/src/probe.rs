//! Asks the leader over the network whether it is there.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// Whether Patroni at `host` says anything at all: a leader in trouble that still answers looks after itself.
pub(crate) async fn patroni_answers(host: &str, port: u16) -> bool {
    timeout(ANSWER_TIMEOUT, first_byte(host, port))
        .await
        .is_ok_and(|answered| answered.is_ok())
}

/// Whether a TCP connection to `host` comes about.
pub(crate) async fn accepts_connections(host: &str, port: u16) -> bool {
    timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)))
        .await
        .is_ok_and(|connected| connected.is_ok())
}

async fn first_byte(host: &str, port: u16) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let request = format!("GET /liveness HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.read_u8().await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn any_answer_counts() {
        let (listener, port) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.0 503 no\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap();
        });
        assert!(patroni_answers("127.0.0.1", port).await);
    }

    #[tokio::test]
    async fn a_frozen_process_shakes_hands_and_says_nothing() {
        let (_listener, port) = listener().await;
        assert!(!patroni_answers("127.0.0.1", port).await);
        assert!(accepts_connections("127.0.0.1", port).await);
    }

    #[tokio::test]
    async fn nobody_is_there() {
        let (listener, port) = listener().await;
        drop(listener);
        assert!(!patroni_answers("127.0.0.1", port).await);
        assert!(!accepts_connections("127.0.0.1", port).await);
    }
}
