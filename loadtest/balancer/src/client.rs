//! One keep-alive connection that asks and counts nothing away: whatever isn't a whole answer with status 200 is an
//! error.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longer than any deadline of a proxy: it is the proxy that shall give up.
const ANSWER_DEADLINE: Duration = Duration::from_secs(40);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The number of the upstream that gave it.
    pub(crate) upstream: usize,
    /// Whether the connection ends with it.
    pub(crate) is_last: bool,
    /// Of a short answer.
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    length: usize,
    upstream: usize,
    is_last: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_with_buffer(address, 16 * 1024)
    }

    /// A small buffer, where there are thousands of them.
    pub(crate) fn open_with_buffer(address: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        Ok(Self {
            stream,
            buffer: vec![0; buffer_bytes],
        })
    }

    /// Whether the other side has kept it open. Nothing may be on its way.
    pub(crate) fn is_open(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        Ok(peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }

    /// Sends one request and reads its answer to the end.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        let head = loop {
            if filled == self.buffer.len() {
                if filled >= HEAD_BYTES_MAX {
                    return Err(io::Error::other("the head is too large"));
                }
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.read(filled)?;
            filled += read;
            if let Some(head) = parse(&self.buffer[..filled])? {
                break head;
            }
        };
        let mut left = (head.bytes + head.length)
            .checked_sub(filled)
            .ok_or_else(|| io::Error::other("more was answered than was asked"))?;
        let body = self.buffer[head.bytes..filled].to_vec();
        while left > 0 {
            let end = left.min(self.buffer.len());
            let read = self.stream.read(&mut self.buffer[..end])?;
            if read == 0 {
                return Err(io::Error::other("closed within the body"));
            }
            left -= read;
        }
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        Ok(Answer {
            upstream: head.upstream,
            is_last: head.is_last,
            body,
        })
    }

    fn read(&mut self, filled: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[filled..])? {
            0 if filled == 0 => Err(io::Error::other("closed before the answer")),
            0 => Err(io::Error::other("closed within the head")),
            read => Ok(read),
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let nonsense = || io::Error::other("no HTTP/1.1 answer of known length");
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| nonsense())?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(nonsense)?;
    let (mut length, mut upstream, mut is_last) = (None, 0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("x-upstream") {
            upstream = value.parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(Head {
        bytes: end + 4,
        status,
        length: length.ok_or_else(nonsense)?,
        upstream,
        is_last,
    }))
}

/// A GET, as small as they come.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: balancer-bench\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// A POST that may be sent twice.
pub(crate) fn keyed_post(path: &str, key: &str) -> Vec<u8> {
    let body = "{\"cart\":[{\"product\":7,\"quantity\":1}]}";
    format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: balancer-bench\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn ask(answer: &'static [u8]) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepted");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).expect("a request");
            stream.write_all(answer).expect("answered");
        });
        let outcome = Connection::open_with_buffer(address, 64)
            .expect("connected")
            .ask(&get("/"));
        serving.join().expect("served");
        outcome
    }

    #[test]
    fn a_whole_answer_counts() {
        let answer = ask(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Upstream: 3\r\nConnection: close\r\n\r\nok");
        let answer = answer.expect("an answer");
        assert_eq!(
            (answer.upstream, answer.is_last, answer.body.as_slice()),
            (3, true, b"ok".as_slice())
        );
    }

    #[test]
    fn anything_else_is_a_failure() {
        for (answer, why) in [
            (b"".as_slice(), "closed before the answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Le", "closed within the head"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
                "closed within the body",
            ),
            (b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n", "status 503"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "no HTTP/1.1 answer of known length",
            ),
        ] {
            assert_eq!(ask(answer).expect_err("a failure").to_string(), why);
        }
    }
}
