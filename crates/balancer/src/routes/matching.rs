//! Which route a request belongs to: first by its host, then by the longest prefix of its path, then by its method.

use std::cmp::Reverse;

use http::Method;
use toml::Spanned;

use super::{Misplaced, Route, RouteTable, RoutesFault};

/// The hosts that a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// `shop.example`
    Exact(String),
    /// `*.shop.example`, kept as `.shop.example`.
    Under(String),
}

/// How particular a route is about the host, and about the path.
type Place = ((u8, Reverse<usize>), Reverse<usize>);

/// What was found for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The index of its route.
    Route(usize),
    /// There are routes for its path, but for these methods only.
    OtherMethods(Vec<Method>),
    /// Nobody's.
    Nothing,
}

/// A request for which routes are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// As in its `Host` line, with or without a port.
    pub(crate) host: &'a str,
    /// As [`crate::path::normalise`] has let it through.
    pub(crate) path: &'a str,
    pub(crate) method: &'a Method,
    /// Whether it came in on the private side.
    pub(crate) private: bool,
}

impl RouteTable {
    /// The route of a request. /internal exists on the private side, and nothing else does.
    pub(crate) fn find(&self, asked: Asked<'_>) -> Found {
        if is_under(asked.path, "/internal") != asked.private || is_operators(asked.path) {
            return Found::Nothing;
        }
        let host = without_port(asked.host);
        let matches = |route: &Route| is_under(asked.path, &route.prefix) && route.is_for_host(host);
        let Some(first) = self.routes.iter().position(matches) else {
            return Found::Nothing;
        };
        // The fallback is for customers: an unknown internal path is nobody's.
        if asked.private && self.routes[first].prefix == "/" {
            return Found::Nothing;
        }
        if self.routes[first].is_for_method(asked.method) {
            return Found::Route(first);
        }
        // Those for the same hosts and prefix stand together.
        let place = self.routes[first].place();
        let alike = (first..self.routes.len())
            .take_while(|&index| self.routes[index].place() == place)
            .filter(|&index| matches(&self.routes[index]));
        let mut methods = Vec::new();
        for index in alike {
            if self.routes[index].is_for_method(asked.method) {
                return Found::Route(index);
            }
            methods.extend_from_slice(&self.routes[index].methods);
        }
        Found::OtherMethods(methods)
    }
}

impl Route {
    fn is_for_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn is_for_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    pub(super) fn takes_everything(&self) -> bool {
        self.prefix == "/" && self.hosts.is_empty() && self.methods.is_empty()
    }

    /// Lower comes first.
    pub(super) fn precedence(&self) -> (Place, bool) {
        (self.place(), self.methods.is_empty())
    }

    fn place(&self) -> Place {
        // Of a route for several hosts the least particular one counts.
        let hosts = self.hosts.iter().map(HostPattern::place).max();
        (hosts.unwrap_or((2, Reverse(0))), Reverse(self.prefix.len()))
    }

    /// Whether there are requests that could be either's, with nothing to tell which comes first.
    pub(super) fn rivals(&self, other: &Self) -> bool {
        let share_hosts = match (self.hosts.as_slice(), other.hosts.as_slice()) {
            ([], []) => true,
            (hosts, others) => hosts.iter().any(|pattern| others.contains(pattern)),
        };
        let share_methods = match (self.methods.as_slice(), other.methods.as_slice()) {
            ([], []) => true,
            (methods, others) => methods.iter().any(|method| others.contains(method)),
        };
        self.prefix == other.prefix && share_hosts && share_methods
    }
}

impl HostPattern {
    pub(super) fn parse(text: Spanned<String>) -> Result<Self, Misplaced> {
        let at = text.span().start;
        let text = text.into_inner();
        let name = text.strip_prefix("*.").unwrap_or(&text);
        let is_sound = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !is_sound {
            return Err(RoutesFault::BadHost(text).at(at));
        }
        let name = name.to_ascii_lowercase();
        Ok(if text.starts_with("*.") {
            Self::Under(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }

    fn place(&self) -> (u8, Reverse<usize>) {
        match self {
            Self::Exact(_) => (0, Reverse(0)),
            Self::Under(suffix) => (1, Reverse(suffix.len())),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Under(suffix) => {
                host.len() > suffix.len()
                    && host.as_bytes()[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Under(suffix) => format!("*{suffix}"),
        }
    }
}

pub(super) fn parse_method(text: Spanned<String>) -> Result<Method, Misplaced> {
    let at = text.span().start;
    let text = text.into_inner();
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    match text.parse() {
        Ok(method) if known.contains(&text.as_str()) => Ok(method),
        _ => Err(RoutesFault::BadMethod(text).at(at)),
    }
}

/// `GET,HEAD shop.example/cart`
pub(super) fn name(methods: &[Method], hosts: &[HostPattern], prefix: &str) -> String {
    let mut name = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(",");
    if !name.is_empty() {
        name.push(' ');
    }
    name.push_str(&hosts.iter().map(HostPattern::to_text).collect::<Vec<_>>().join(","));
    name.push_str(prefix);
    name
}

/// What services tell operators is not for customers.
fn is_operators(path: &str) -> bool {
    ["/livez", "/readyz", "/metrics"]
        .iter()
        .any(|prefix| is_under(path, prefix))
}

fn is_under(path: &str, prefix: &str) -> bool {
    prefix == "/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
