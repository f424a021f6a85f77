//! The ids by which one request is found again in every log: a request id, and a W3C trace context.

use http::{HeaderMap, HeaderName};

use crate::text::push_hex;

/// `X-Request-Id`
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `traceparent`
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const REQUEST_ID_BYTES_MAX: usize = 64;
const TRACEPARENT_BYTES: usize = 55;

/// Who a request is.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The `traceparent`, `00-{trace id}-{this hop's span id}-{flags}`, and behind it the request id.
    text: String,
    /// Whether the client's trace goes on; otherwise its `tracestate` means nothing.
    pub(crate) continues_trace: bool,
}

impl Identity {
    /// Takes over what the client sent, or makes new ids.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let request_id = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|value| is_sane_request_id(value));
        let parent = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .filter(|value| is_traceparent(value));
        let [span_id, trace_id_high, trace_id_low, id_high, id_low] = rand::random::<[u64; 5]>();
        let mut text = String::with_capacity(TRACEPARENT_BYTES + REQUEST_ID_BYTES_MAX);
        match parent {
            Some(parent) => text.push_str(&parent[..35]),
            None => {
                text.push_str("00-");
                push_hex(&mut text, trace_id_high);
                // Ids of zeros only are invalid.
                push_hex(&mut text, trace_id_low | 1);
            }
        }
        text.push('-');
        push_hex(&mut text, span_id | 1);
        text.push('-');
        text.push_str(parent.map_or("01", |parent| &parent[53..]));
        match request_id {
            Some(request_id) => text.push_str(request_id),
            None => {
                push_hex(&mut text, id_high);
                push_hex(&mut text, id_low);
            }
        }
        Self {
            text,
            continues_trace: parent.is_some(),
        }
    }

    /// Made here, or the client's if it is sane.
    pub(crate) fn request_id(&self) -> &str {
        self.text.get(TRACEPARENT_BYTES..).unwrap_or_default()
    }

    /// `00-{trace id}-{this hop's span id}-{flags}`
    pub(crate) fn traceparent(&self) -> &str {
        self.text.get(..TRACEPARENT_BYTES).unwrap_or_default()
    }

    pub(crate) fn trace_id(&self) -> &str {
        self.text.get(3..35).unwrap_or_default()
    }

    pub(crate) fn span_id(&self) -> &str {
        self.text.get(36..52).unwrap_or_default()
    }
}

fn is_sane_request_id(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= REQUEST_ID_BYTES_MAX
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_traceparent(value: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    if value.len() != TRACEPARENT_BYTES || !value.is_ascii() || !value.starts_with("00-") {
        return false;
    }
    let (trace_id, span_id, flags) = (&value[3..35], &value[36..52], &value[53..]);
    let dashes = value.as_bytes()[35] == b'-' && value.as_bytes()[52] == b'-';
    dashes && is_hex(trace_id) && is_hex(span_id) && is_hex(flags) && !is_zero(trace_id) && !is_zero(span_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: HeaderName, value: &str) -> Identity {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        Identity::of(&headers)
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(identity(REQUEST_ID, "order-7_a.b").request_id(), "order-7_a.b");
        for insane in ["", "a b", "a\"b", &"a".repeat(65)] {
            let made = identity(REQUEST_ID, insane);
            assert_eq!(made.request_id().len(), 32, "{insane}");
        }
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_our_own() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let identity = identity(TRACEPARENT, parent);
        assert!(identity.continues_trace);
        assert_eq!(identity.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(identity.span_id(), "00f067aa0ba902b7");
        assert!(identity.traceparent().ends_with("-00"));
        assert!(is_traceparent(identity.traceparent()));
    }

    #[test]
    fn a_broken_trace_is_replaced_by_a_new_one() {
        for broken in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "nonsense",
        ] {
            let identity = identity(TRACEPARENT, broken);
            assert!(!identity.continues_trace, "{broken}");
            assert!(is_traceparent(identity.traceparent()), "{}", identity.traceparent());
        }
    }
}
