//! A copy of a request, in case that it has to be sent again. Few ever are, so it is made as cheaply as can be: its header
//! lines stand in one piece of memory, and become headers when they are needed.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::body::RequestBody;

/// Neither a name nor a value may hold it.
const END: u8 = b'\n';
/// Most heads fit.
const LINES_CAPACITY: usize = 1000;

pub(crate) struct Spare {
    method: Method,
    uri: Uri,
    /// Name, end, value, end, and so on.
    lines: Vec<u8>,
    body: RequestBody,
}

impl Spare {
    /// None if the body can be sent only once.
    pub(crate) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let body = request.body().again()?;
        let mut lines = Vec::with_capacity(LINES_CAPACITY);
        for (name, value) in request.headers() {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(END);
            lines.extend_from_slice(value.as_bytes());
            lines.push(END);
        }
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            lines,
            body,
        })
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The request once more.
    pub(crate) fn request(&self) -> Option<Request<RequestBody>> {
        let mut request = Request::new(self.body.again()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let mut fields = self.lines.split(|&byte| byte == END);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let name = HeaderName::from_bytes(name).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_copy_is_the_same_request_also_twice() {
        let mut request = Request::new(RequestBody::Kept(Bytes::from_static(b"{}")));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/orders?a=b");
        let headers = request.headers_mut();
        for (name, value) in [("host", "a"), ("x-empty", ""), ("via", "1.1 b"), ("via", "1.1 \u{e9}")] {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        let spare = Spare::of(&request).expect("a copy");
        for _ in 0..2 {
            let again = spare.request().expect("a request");
            assert_eq!((again.method(), again.uri()), (request.method(), request.uri()));
            assert_eq!(again.headers(), request.headers());
            assert!(matches!(again.body(), RequestBody::Kept(bytes) if &bytes[..] == b"{}"));
        }
    }
}
