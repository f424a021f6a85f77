//! A backend that knows no mercy: it reads requests byte by byte, takes nothing that could be read in a second way, and
//! keeps what it has seen. What it answers is up to the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::{Front, limits, routes};

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case, in the order of their lines.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    /// All values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(header, _)| header == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }
}

/// What came over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Request(Arrived),
    /// The connection ended before the request did, so that nobody may act on it.
    Cut,
    /// Something that a lax parser might take for a request, or for two.
    Malformed {
        why: String,
        bytes: String,
    },
}

/// What a connection does after an answer.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    Keep,
    Close,
    /// Sends this again and again, for as long as somebody takes it.
    Repeat(Vec<u8>),
    /// Leaves the connection open and does nothing more.
    Hang,
}

type Answering = dyn Fn(&Arrived) -> (Vec<u8>, Then) + Send + Sync;

/// The backend, until it is dropped.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl Recorder {
    /// Answers `200` and the target.
    pub(crate) async fn start() -> Self {
        Self::answering(|request| (ok(request.method != "HEAD", &request.target), Then::Keep)).await
    }

    pub(crate) async fn answering(answer: impl Fn(&Arrived) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answering> = Arc::new(answer);
        let recording = seen.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                connections.spawn(serve(stream, answer.clone(), recording.clone()));
            }
        });
        Self { address, seen, serving }
    }

    /// A balancer whose only backend this is.
    pub(crate) async fn front(&self) -> Front {
        self.front_with(limits()).await
    }

    pub(crate) async fn front_with(&self, limits: balancer::Limits) -> Front {
        let address = format!("addresses = [\"{}\"]", self.address);
        let routes = routes(&[], &[]).replacen("addresses = []", &address, 1);
        Front::start(&routes, limits, 1).await
    }

    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no panic in the recorder"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer with this body, or with its length alone.
pub(crate) fn ok(has_body: bool, body: &str) -> Vec<u8> {
    let shown = if has_body { body } else { "" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{shown}", body.len()).into_bytes()
}

async fn serve(mut stream: TcpStream, answer: Arc<Answering>, seen: Arc<Mutex<Vec<Seen>>>) {
    let record = |what: Seen| seen.lock().expect("no panic in the recorder").push(what);
    let mut buffer = Vec::new();
    loop {
        let request = match parse(&buffer) {
            Parsed::Request(request, length) if length == buffer.len() => request,
            Parsed::Request(..) => return record(malformed("something follows the request", &buffer)),
            Parsed::Malformed(why) => return record(malformed(why, &buffer)),
            Parsed::Incomplete => {
                let mut piece = [0; 16 * 1024];
                match stream.read(&mut piece).await {
                    Ok(length) if length > 0 => buffer.extend_from_slice(&piece[..length]),
                    _ if buffer.is_empty() => return,
                    _ => return record(Seen::Cut),
                }
                continue;
            }
        };
        buffer.clear();
        if request.target == "/readyz" {
            let _ = stream.write_all(&ok(true, "ready")).await;
            return;
        }
        let (bytes, then) = answer(&request);
        record(Seen::Request(request));
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match then {
            Then::Keep => {}
            Then::Close => return,
            Then::Repeat(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Then::Hang => {
                // Nothing is sent any more; when the other side ends it, so does this one.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
        }
    }
}

fn malformed(why: &str, bytes: &[u8]) -> Seen {
    Seen::Malformed {
        why: why.to_owned(),
        bytes: bytes.escape_ascii().to_string(),
    }
}

enum Parsed {
    /// And how many bytes it took.
    Request(Arrived, usize),
    Incomplete,
    Malformed(&'static str),
}

enum Framing {
    Length(usize),
    Chunked,
}

fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Parsed::Incomplete;
    };
    let arrived = match parse_head(&bytes[..end]) {
        Ok(arrived) => arrived,
        Err(why) => return Parsed::Malformed(why),
    };
    let body = &bytes[end + 4..];
    match framing(&arrived) {
        Err(why) => Parsed::Malformed(why),
        Ok(Framing::Length(length)) if body.len() < length => Parsed::Incomplete,
        Ok(Framing::Length(length)) => {
            let body = body[..length].to_vec();
            Parsed::Request(Arrived { body, ..arrived }, end + 4 + length)
        }
        Ok(Framing::Chunked) => match parse_chunks(body) {
            Ok(Some((body, length))) => Parsed::Request(Arrived { body, ..arrived }, end + 4 + length),
            Ok(None) => Parsed::Incomplete,
            Err(why) => Parsed::Malformed(why),
        },
    }
}

fn parse_head(head: &[u8]) -> Result<Arrived, &'static str> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("no request line");
    };
    if !is_token(method) || !target.starts_with('/') || target.contains(|c: char| c.is_control()) {
        return Err("a strange request line");
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
        if !is_token(name) {
            return Err("a name that is none");
        }
        if value.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err("a control character");
        }
        headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Arrived {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
    })
}

fn framing(head: &Arrived) -> Result<Framing, &'static str> {
    if head.values("host").len() != 1 {
        return Err("not one host");
    }
    match (
        head.values("content-length").as_slice(),
        head.values("transfer-encoding").as_slice(),
    ) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| "a length out of range")
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        _ => Err("an ambiguous length"),
    }
}

/// The body and how many bytes it took; none if more must come.
fn parse_chunks(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let whole = bytes.len();
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[..end]).map_err(|_| "a chunk size that is none")?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a chunk size that is none");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk size out of range")?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(..size.saturating_add(2)) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk without its end");
        }
        body.extend_from_slice(&chunk[..size]);
        bytes = &bytes[size + 2..];
    }
    loop {
        let Some(end) = find(bytes, b"\r\n") else {
            return Ok(None);
        };
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            return Ok(Some((body, whole - bytes.len())));
        }
        let name = line
            .split(|byte| *byte == b':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if [&b"content-length"[..], b"transfer-encoding", b"host", b"connection"].contains(&&name[..]) {
            return Err("a trailer that frames or routes");
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
