//! The upstream that all proxies have behind them: it answers as cheaply as it can, and can be told to be slow.
//!
//! `/bytes/N` answers N bytes; `/readyz` says whether it takes work; `/count` how many requests it has answered. On
//! SIGTERM it first says that it isn't ready, then closes idle connections and finishes what it has begun.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

const BACKLOG: u32 = 4096;
const REQUEST_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Checks come each second.
const NOT_READY_NOTICE: Duration = Duration::from_millis(2500);
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// Its number, told in `X-Upstream`.
    #[arg(long)]
    number: u8,
    /// How long it takes for each answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

struct Upstream {
    options: Options,
    answered: Cell<u64>,
    open: Cell<u64>,
    answers: RefCell<HashMap<usize, Rc<[u8]>>>,
    drain: CancellationToken,
    close: CancellationToken,
}

/// Serves until SIGTERM.
pub(crate) fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket
            .bind(options.listen)
            .with_context(|| options.listen.to_string())?;
        let listener = socket.listen(BACKLOG)?;
        let upstream = Rc::new(Upstream {
            options,
            answered: Cell::new(0),
            open: Cell::new(0),
            answers: RefCell::default(),
            drain: CancellationToken::new(),
            close: CancellationToken::new(),
        });
        tokio::task::spawn_local(accept_forever(upstream.clone(), listener));
        signal(SignalKind::terminate())?.recv().await;
        upstream.drain.cancel();
        tokio::time::sleep(NOT_READY_NOTICE).await;
        upstream.close.cancel();
        let finished = async {
            while upstream.open.get() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // What isn't finished by then is cut.
        let _ = tokio::time::timeout(FINISH_DEADLINE, finished).await;
        Ok(())
    })
}

async fn accept_forever(upstream: Rc<Upstream>, listener: TcpListener) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let upstream = upstream.clone();
                tokio::task::spawn_local(async move {
                    upstream.open.set(upstream.open.get() + 1);
                    // Whoever closes the connection in the middle of something notices by itself.
                    let _ = upstream.serve(stream).await;
                    upstream.open.set(upstream.open.get() - 1);
                });
            }
            () = upstream.close.cancelled() => return,
        }
    }
}

/// What a request asks, and how long it is.
struct Asked {
    bytes: usize,
    wants: Wants,
}

enum Wants {
    Bytes(usize),
    Readiness,
    Count,
    Unknown,
}

impl Upstream {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            let Some(asked) = parse(&buffer) else {
                if buffer.len() > REQUEST_BYTES_MAX + BODY_BYTES_MAX {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    read = stream.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
                    () = self.close.cancelled(), if buffer.is_empty() => return Ok(()),
                }
                continue;
            };
            match asked.wants {
                Wants::Bytes(bytes) => {
                    if self.options.delay_ms > 0 {
                        tokio::time::sleep(Duration::from_millis(self.options.delay_ms)).await;
                    }
                    self.answered.set(self.answered.get() + 1);
                    let answer = self.bytes(bytes);
                    stream.write_all(&answer).await?;
                }
                Wants::Readiness if self.drain.is_cancelled() => {
                    stream.write_all(&head("503 Service Unavailable", 0, 0)).await?;
                }
                Wants::Readiness => stream.write_all(&head("200 OK", 0, 0)).await?,
                Wants::Count => {
                    let count = self.answered.get().to_string();
                    let mut answer = head("200 OK", self.options.number, count.len());
                    answer.extend(count.as_bytes());
                    stream.write_all(&answer).await?;
                }
                Wants::Unknown => stream.write_all(&head("404 Not Found", 0, 0)).await?,
            }
            buffer.drain(..asked.bytes);
        }
    }

    fn bytes(&self, bytes: usize) -> Rc<[u8]> {
        let mut answers = self.answers.borrow_mut();
        let make = || {
            let mut answer = head("200 OK", self.options.number, bytes);
            answer.resize(answer.len() + bytes, b'x');
            Rc::from(answer)
        };
        answers.entry(bytes).or_insert_with(make).clone()
    }
}

fn head(status: &str, number: u8, bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\nCache-Control: no-cache\r\nX-Upstream: {number}\r\n\r\n"
    )
    .into_bytes()
}

/// The first request of the buffer, once all of it is there.
fn parse(buffer: &[u8]) -> Option<Asked> {
    let head_bytes = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_bytes]).unwrap_or_default();
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1).unwrap_or_default();
    let body_bytes = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let bytes = head_bytes + body_bytes;
    if body_bytes > BODY_BYTES_MAX || bytes > buffer.len() {
        return None;
    }
    let wants = match path {
        "/readyz" => Wants::Readiness,
        "/count" => Wants::Count,
        path => match path.strip_prefix("/bytes/").and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) if bytes <= BODY_BYTES_MAX => Wants::Bytes(bytes),
            _ => Wants::Unknown,
        },
    };
    Some(Asked { bytes, wants })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_body_and_not_before() {
        let request = b"POST /bytes/64 HTTP/1.1\r\nhost: a\r\ncontent-LENGTH: 5\r\n\r\nhello";
        for cut in 0..request.len() {
            assert!(parse(&request[..cut]).is_none(), "cut to {cut} bytes");
        }
        let asked = parse(&[request.as_slice(), b"GET"].concat()).expect("complete");
        assert_eq!(asked.bytes, request.len());
        assert!(matches!(asked.wants, Wants::Bytes(64)));
    }
}
