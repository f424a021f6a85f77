//! What is said of each request: one JSON line, as all other log lines are.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use shop_front::access_log::{write_escaped, write_timestamp};

/// What is said of one request. The query is left out: it may hold what people searched for.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) side: &'static str,
    pub(crate) status: u16,
    pub(crate) upstream: &'a str,
    pub(crate) tries: u32,
    pub(crate) duration: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) is_complete: bool,
    pub(crate) request_id: &'a str,
    pub(crate) trace_id: &'a str,
    pub(crate) span_id: &'a str,
}

/// Appends the line.
pub(crate) fn write_line(out: &mut String, line: &Line<'_>, instance: &str, now: SystemTime) {
    out.push_str("{\"ts\":\"");
    write_timestamp(out, now);
    out.push_str("\",\"level\":\"INFO\",\"msg\":\"");
    write_escaped(out, line.method);
    out.push(' ');
    write_escaped(out, line.path);
    // Writing to a String can't fail.
    let _ = write!(out, " {}\",\"service\":\"balancer\",\"instance\":\"", line.status);
    write_escaped(out, instance);
    let _ = write!(
        out,
        "\",\"trace_id\":\"{}\",\"span_id\":\"{}\"",
        line.trace_id, line.span_id
    );
    let _ = write!(
        out,
        ",\"target\":\"access\",\"request_id\":\"{}\",\"method\":\"",
        line.request_id
    );
    write_escaped(out, line.method);
    out.push_str("\",\"path\":\"");
    write_escaped(out, line.path);
    out.push_str("\",\"route\":\"");
    write_escaped(out, line.route);
    out.push_str("\",\"upstream\":\"");
    write_escaped(out, line.upstream);
    let ms = line.duration.as_secs_f64() * 1e3;
    let _ = writeln!(
        out,
        "\",\"side\":\"{}\",\"status\":{},\"tries\":{},\"ms\":{ms:.3},\"bytes\":{},\"complete\":{}}}",
        line.side, line.status, line.tries, line.bytes_sent, line.is_complete
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_path_holds() {
        let line = Line {
            method: "GET",
            path: "/a\"b\\c\u{1}",
            route: "/",
            side: "public",
            status: 200,
            upstream: "inventory-1",
            tries: 2,
            duration: Duration::from_micros(1500),
            bytes_sent: 10,
            is_complete: true,
            request_id: "r",
            trace_id: "t",
            span_id: "s",
        };
        let mut out = String::new();
        write_line(&mut out, &line, "balancer-1", SystemTime::now());
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(parsed["path"], "/a\"b\\c\u{1}");
        assert_eq!(parsed["ms"], 1.5);
        assert_eq!(parsed["tries"], 2);
        assert!(out.ends_with('\n'));
    }
}
