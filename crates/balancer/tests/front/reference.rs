//! A second opinion on a client's bytes: an independent reading of RFC 9112 in one pass over the whole, against which
//! the balancer's is held. Lax only where the RFC lets a server be (a line feed alone ends a line of a head, empty lines
//! before a request are skipped), and where the balancer says that it is.

use crate::recorder::find;

/// One request within a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// In origin form.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// Where the reading ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the bytes, between two requests.
    Clean,
    /// The last request was the last on its connection; what follows means nothing.
    Closed,
    /// Within a request.
    Incomplete,
    /// At something that no server may act on.
    Broken,
}

/// Reads requests until one is the last or unreadable.
pub(crate) fn read(mut bytes: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
            bytes = rest;
        }
        if bytes.is_empty() {
            return (requests, End::Clean);
        }
        match read_one(bytes) {
            Err(end) => return (requests, end),
            Ok((request, length, is_last)) => {
                requests.push(request);
                bytes = &bytes[length..];
                if is_last {
                    return (requests, End::Closed);
                }
            }
        }
    }
}

/// The request, its length in bytes, and whether it is the last.
fn read_one(bytes: &[u8]) -> Result<(Request, usize, bool), End> {
    let (lines, head_bytes) = head_lines(bytes).ok_or(End::Incomplete)?;
    let (request_line, headers) = lines.split_first().ok_or(End::Broken)?;
    let words: Vec<&[u8]> = request_line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Err(End::Broken);
    };
    let is_http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(End::Broken),
    };
    if !is_token(method) || target.is_empty() || target.iter().any(|byte| *byte < 0x21 || *byte == 0x7f) {
        return Err(End::Broken);
    }
    let (mut length, mut is_chunked, mut closes, mut keeps) = (None, false, false, false);
    for line in headers {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(End::Broken)?;
        let name = line[..colon].to_ascii_lowercase();
        let value = trim(&line[colon + 1..]);
        if !is_token(&name)
            || value
                .iter()
                .any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(End::Broken);
        }
        match &name[..] {
            b"content-length" => {
                let this = number(value, 10).ok_or(End::Broken)?;
                if length.is_some_and(|other| other != this) {
                    return Err(End::Broken);
                }
                length = Some(this);
            }
            b"transfer-encoding" if is_chunked || !value.eq_ignore_ascii_case(b"chunked") => return Err(End::Broken),
            b"transfer-encoding" => is_chunked = true,
            b"connection" => {
                let mut tokens = value.split(|byte| *byte == b',').map(trim);
                closes |= tokens.clone().any(|token| token.eq_ignore_ascii_case(b"close"));
                keeps |= tokens.any(|token| token.eq_ignore_ascii_case(b"keep-alive"));
            }
            _ => {}
        }
    }
    if is_chunked && (length.is_some() || !is_http_11) {
        return Err(End::Broken);
    }
    let rest = &bytes[head_bytes..];
    let (body, body_bytes) = if is_chunked {
        read_chunks(rest)?
    } else {
        let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
        (rest.get(..length).ok_or(End::Incomplete)?.to_vec(), length)
    };
    let request = Request {
        method: String::from_utf8_lossy(method).into_owned(),
        target: origin_form(target),
        body,
    };
    // The balancer ends every connection after a chunked request.
    let is_last = is_chunked || closes || !(is_http_11 || keeps);
    Ok((request, head_bytes + body_bytes, is_last))
}

/// The lines of a head without their ends, and its length.
fn head_lines(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let end = at + find(&bytes[at..], b"\n")?;
        let line = &bytes[at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at = end + 1;
        if line.is_empty() {
            return Some((lines, at));
        }
        lines.push(line);
    }
}

/// In a chunked body every line ends with both characters.
fn read_chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize), End> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = chunk_line(bytes, &mut at)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = number(&line[..digits], 16).ok_or(End::Broken)?;
        let extension = trim(&line[digits..]);
        if !extension.is_empty() && extension[0] != b';' {
            return Err(End::Broken);
        }
        if size == 0 {
            break;
        }
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size))
            .ok_or(End::Incomplete)?;
        body.extend_from_slice(bytes.get(at..end).ok_or(End::Incomplete)?);
        match bytes.get(end..) {
            Some([b'\r', b'\n', ..]) => at = end + 2,
            Some([] | [b'\r']) | None => return Err(End::Incomplete),
            Some(_) => return Err(End::Broken),
        }
    }
    // Trailers are judged together, at their end: until then more may come.
    let mut is_sound = true;
    loop {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| *byte == b'\r').ok_or(End::Incomplete)?;
        if *rest.get(end + 1).ok_or(End::Incomplete)? != b'\n' {
            return Err(End::Broken);
        }
        let line = &rest[..end];
        at += end + 2;
        if line.is_empty() {
            return if is_sound { Ok((body, at)) } else { Err(End::Broken) };
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_clean = line.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t');
        is_sound &= is_token(name) && name.len() < line.len() && is_clean;
    }
}

fn chunk_line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], End> {
    let rest = &bytes[*at..];
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let end = end.ok_or(End::Incomplete)?;
    match rest[end..] {
        [b'\r', b'\n', ..] => {
            *at += end + 2;
            Ok(&rest[..end])
        }
        [b'\r'] => Err(End::Incomplete),
        _ => Err(End::Broken),
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    // A sign would be taken by the parser of numbers.
    let is_plain = !digits.is_empty() && digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    let text = std::str::from_utf8(digits).ok().filter(|_| is_plain)?;
    u64::from_str_radix(text, radix).ok()
}

fn origin_form(target: &[u8]) -> String {
    let target: String = target.iter().map(|byte| char::from(*byte)).collect();
    let target = target.split('#').next().unwrap_or_default().to_owned();
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return target;
    };
    match rest.find(['/', '?']) {
        None => "/".to_owned(),
        Some(start) if rest[start..].starts_with('?') => format!("/{}", &rest[start..]),
        Some(start) => rest[start..].to_owned(),
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_blank(byte)).count();
    let end = value.len() - value[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &value[start..end]
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// The final answers in a server's bytes by status, as far as they are whole; an error where the bytes are no answers.
/// `methods` are those of the requests, in order.
pub(crate) fn answers(mut bytes: &[u8], methods: &[&str]) -> Result<Vec<u16>, String> {
    let mut statuses = Vec::new();
    while !bytes.is_empty() {
        let Some(head_bytes) = find(bytes, b"\r\n\r\n").map(|end| end + 4) else {
            return Ok(statuses);
        };
        let head = String::from_utf8_lossy(&bytes[..head_bytes]).to_ascii_lowercase();
        let status = head
            .strip_prefix("http/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("not an answer: {head}"))?;
        bytes = &bytes[head_bytes..];
        if status < 200 {
            continue;
        }
        let is_bodiless = matches!(status, 204 | 304) || methods.get(statuses.len()) == Some(&"HEAD");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body_bytes = match length {
            _ if is_bodiless => 0,
            Some(length) => length.parse().map_err(|_| format!("not a length: {head}"))?,
            None => return Err(format!("an answer without a length: {head}")),
        };
        let Some(rest) = bytes.get(body_bytes..) else {
            return Ok(statuses);
        };
        bytes = rest;
        statuses.push(status);
    }
    Ok(statuses)
}
