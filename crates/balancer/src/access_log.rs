//! What is said of each request: one JSON line, as all other log lines are.

use std::time::{Duration, SystemTime};

use shop_front::access_log::{Clock, write_escaped};

use crate::text::{push_decimal, push_ms_exact};

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
pub(crate) fn write_line(out: &mut String, line: &Line<'_>, instance: &str, clock: &mut Clock, now: SystemTime) {
    out.push_str("{\"ts\":\"");
    clock.write(out, now);
    out.push_str("\",\"level\":\"INFO\",\"msg\":\"");
    write_escaped(out, line.method);
    out.push(' ');
    write_escaped(out, line.path);
    out.push(' ');
    push_decimal(out, line.status.into());
    out.push_str("\",\"service\":\"balancer\",\"instance\":\"");
    write_escaped(out, instance);
    // Ids are made of letters and digits, whoever made them.
    for (name, id) in [
        ("\",\"trace_id\":\"", line.trace_id),
        ("\",\"span_id\":\"", line.span_id),
        ("\",\"target\":\"access\",\"request_id\":\"", line.request_id),
        ("\",\"side\":\"", line.side),
    ] {
        out.push_str(name);
        out.push_str(id);
    }
    for (name, value) in [
        ("\",\"method\":\"", line.method),
        ("\",\"path\":\"", line.path),
        ("\",\"route\":\"", line.route),
        ("\",\"upstream\":\"", line.upstream),
    ] {
        out.push_str(name);
        write_escaped(out, value);
    }
    out.push_str("\",\"status\":");
    push_decimal(out, line.status.into());
    out.push_str(",\"tries\":");
    push_decimal(out, line.tries.into());
    out.push_str(",\"ms\":");
    push_ms_exact(out, line.duration);
    out.push_str(",\"bytes\":");
    push_decimal(out, line.bytes_sent);
    out.push_str(if line.is_complete {
        ",\"complete\":true}\n"
    } else {
        ",\"complete\":false}\n"
    });
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
        write_line(&mut out, &line, "balancer-1", &mut Clock::default(), SystemTime::now());
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(parsed["path"], "/a\"b\\c\u{1}");
        assert_eq!(parsed["ms"], 1.5);
        assert_eq!(parsed["tries"], 2);
        assert!(out.ends_with('\n'));
    }
}
