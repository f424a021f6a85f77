//! Why a routes file can't be used, and where in it.

use super::Misplaced;

/// What is wrong with a routes file. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct RoutesError {
    /// Where the fault is.
    pub line: usize,
    /// Where in the line, in characters.
    pub column: usize,
    /// What it is.
    pub fault: RoutesFault,
}

/// What can be wrong with a routes file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesFault {
    /// Not TOML, or not of the known shape.
    #[error("{0}")]
    Syntax(String),
    /// A prefix that doesn't start with a slash, or ends with one.
    #[error("route prefix {0:?} must start with a slash, not end with one, and have no quotes")]
    BadPrefix(String),
    /// Two routes for the same requests.
    #[error("route {0:?} is given twice")]
    DuplicateRoute(String),
    /// Two services of one name.
    #[error("service {0:?} is given twice")]
    DuplicateService(String),
    /// A route to nowhere.
    #[error("route {prefix:?} names the unknown service {service:?}")]
    UnknownService {
        /// The route.
        prefix: String,
        /// The name it gives.
        service: String,
    },
    /// An address that isn't a name and a port.
    #[error("address {0:?} of a service must be a name or IPv4 address, a colon and a port")]
    BadAddress(String),
    /// Not the name of a host.
    #[error("host {0:?} must be a name without port, and may begin with \"*.\"")]
    BadHost(String),
    /// A method that isn't let through anyway.
    #[error("method {0:?} is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    BadMethod(String),
    /// A rate or burst out of range.
    #[error("a rate must be 0 (none) to 1000000 a second, and a burst at least 1")]
    BadRate,
    /// What may come at once, of what isn't limited here.
    #[error("a burst says nothing without its rate")]
    BurstAlone,
    /// Not an address or network.
    #[error("{0:?} is neither an address nor a network like 10.0.0.0/8")]
    BadNetwork(String),
    /// Not something that a header can hold.
    #[error("{0:?} can't be the value of a header")]
    BadHeader(String),
    /// Unknown paths need somebody who answers.
    #[error("there is no route for \"/\" without hosts and methods")]
    NoFallback,
}

impl RoutesFault {
    pub(super) fn at(self, at: usize) -> Misplaced {
        Misplaced { fault: self, at }
    }
}

impl RoutesError {
    pub(super) fn at(text: &str, at: usize, fault: RoutesFault) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            fault,
        }
    }

    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self::at(text, at, RoutesFault::Syntax(error.message().replace('\n', " ")))
    }
}
