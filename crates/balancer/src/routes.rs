//! The route table: which service answers a path, and within which limits.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;

use crate::balance::Algorithm;

const DEFAULT_ROUTES: &str = include_str!("../routes.toml");
const BODY_BYTES_MAX_DEFAULT: u64 = 1024 * 1024;
const DEADLINE_MS_DEFAULT: u64 = 15_000;

/// What goes first when there is too much to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Shed first: can be done later.
    Background,
    /// Shed next.
    #[default]
    Normal,
    /// Shed last: somebody is paying.
    Checkout,
}

/// One prefix of paths.
#[derive(Debug)]
pub struct Route {
    /// The prefix, also the route's name in logs and metrics.
    pub prefix: String,
    /// Index into the table's services.
    pub service: usize,
    /// Largest request body.
    pub body_bytes_max: u64,
    /// Until the head of the answer.
    pub deadline: Duration,
    /// Its place in the order of shedding.
    pub class: Class,
    /// Whether its service does what carries one `Idempotency-Key` only once.
    pub keyed: bool,
    /// How a backend is chosen for it.
    pub balance: Algorithm,
    /// After which another backend is asked for the same GET as well.
    pub hedge_after: Option<Duration>,
}

/// A service, and the names and ports under which DNS knows its instances.
#[derive(Debug)]
pub struct ServiceNames {
    /// `inventory`
    pub name: String,
    /// `("inventory", 8000)`
    pub addresses: Vec<(String, u16)>,
}

/// All routes and services. The same for the life of the process.
#[derive(Debug)]
pub struct RouteTable {
    /// Longest prefix first.
    pub routes: Vec<Route>,
    /// What the routes point to.
    pub services: Vec<ServiceNames>,
}

/// Why a routes file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// Not TOML, or not of the known shape.
    #[error("not a routes file: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A prefix that doesn't start with a slash, or ends with one.
    #[error("route prefix {0:?} must start with a slash and not end with one")]
    BadPrefix(String),
    /// Two routes for one prefix.
    #[error("route prefix {0:?} is given twice")]
    DuplicatePrefix(String),
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
    /// Unknown paths need somebody who answers.
    #[error("there is no route for \"/\"")]
    NoFallback,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: Vec<FileService>,
    route: Vec<FileRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileService {
    name: String,
    addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRoute {
    prefix: String,
    service: String,
    body_bytes_max: Option<u64>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    class: Class,
    #[serde(default)]
    keyed: bool,
    #[serde(default)]
    balance: Algorithm,
    hedge_after_ms: Option<NonZeroU64>,
}

impl RouteTable {
    /// The routes of the shop.
    pub fn built_in() -> Result<Self, RoutesError> {
        Self::parse(DEFAULT_ROUTES)
    }

    /// Reads a routes file.
    pub fn parse(text: &str) -> Result<Self, RoutesError> {
        let file: File = toml::from_str(text)?;
        let services = file
            .service
            .into_iter()
            .map(parse_service)
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        let mut routes = Vec::with_capacity(file.route.len());
        for route in file.route {
            let is_root = route.prefix == "/";
            if !route.prefix.starts_with('/') || (route.prefix.ends_with('/') && !is_root) {
                return Err(RoutesError::BadPrefix(route.prefix));
            }
            if !seen.insert(route.prefix.clone()) {
                return Err(RoutesError::DuplicatePrefix(route.prefix));
            }
            let Some(service) = services.iter().position(|service| service.name == route.service) else {
                return Err(RoutesError::UnknownService {
                    prefix: route.prefix,
                    service: route.service,
                });
            };
            routes.push(Route {
                service,
                body_bytes_max: route.body_bytes_max.unwrap_or(BODY_BYTES_MAX_DEFAULT),
                deadline: Duration::from_millis(route.deadline_ms.unwrap_or(DEADLINE_MS_DEFAULT)),
                class: route.class,
                keyed: route.keyed,
                balance: route.balance,
                hedge_after: route.hedge_after_ms.map(|ms| Duration::from_millis(ms.get())),
                prefix: route.prefix,
            });
        }
        if !seen.contains("/") {
            return Err(RoutesError::NoFallback);
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Ok(Self { routes, services })
    }

    /// The route of a path that [`crate::path::normalise`] has let through, as an index. `private` says on which
    /// side the request came in: /internal exists on the private side, and nothing else does.
    pub fn find(&self, path: &str, private: bool) -> Option<usize> {
        if is_under(path, "/internal") != private || is_operators(path) {
            return None;
        }
        let found = self.routes.iter().position(|route| is_under(path, &route.prefix))?;
        // The fallback is for customers: an unknown internal path is nobody's.
        (!private || self.routes[found].prefix != "/").then_some(found)
    }
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

fn parse_service(service: FileService) -> Result<ServiceNames, RoutesError> {
    let addresses = service.addresses.into_iter().map(|address| {
        let parsed = address
            .rsplit_once(':')
            .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
            .and_then(|(name, port)| Some((name.to_owned(), port.parse().ok()?)));
        parsed.ok_or(RoutesError::BadAddress(address))
    });
    Ok(ServiceNames {
        name: service.name,
        addresses: addresses.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_of(path: &str, private: bool) -> Option<String> {
        let table = RouteTable::built_in().expect("the built-in routes are sound");
        let route = table.find(path, private)?;
        Some(table.services[table.routes[route].service].name.clone())
    }

    #[test]
    fn each_path_of_the_shop_reaches_its_service() {
        for path in [
            "/",
            "/products/7",
            "/categories/sea",
            "/search",
            "/api/products/7/stock",
            "/api/photos",
            "/photos/1/2/w320.webp",
            "/assets/shop.1a.css",
            "/favicon.ico",
            "/robots.txt",
            "/admin/products",
            "/problems/sold-out",
            "/no-such-page",
            "/cartography",
            "/internals",
        ] {
            assert_eq!(service_of(path, false).as_deref(), Some("inventory"), "{path}");
        }
        for path in [
            "/register",
            "/login",
            "/cart",
            "/checkout",
            "/orders/7",
            "/account",
            "/admin/orders",
            "/api/users/7",
            "/api/sessions/current",
            "/api/me",
            "/api/cart/items/7",
            "/api/orders",
        ] {
            assert_eq!(service_of(path, false).as_deref(), Some("user"), "{path}");
        }
    }

    #[test]
    fn only_orders_honour_a_key() {
        let table = RouteTable::built_in().expect("the built-in routes are sound");
        let keyed: Vec<&str> = table
            .routes
            .iter()
            .filter(|route| route.keyed)
            .map(|route| route.prefix.as_str())
            .collect();
        assert_eq!(keyed, ["/api/orders"]);
    }

    #[test]
    fn internal_paths_exist_only_on_the_private_side() {
        assert_eq!(service_of("/internal/products", false), None);
        assert_eq!(service_of("/internal", false), None);
        assert_eq!(service_of("/internal/products", true).as_deref(), Some("inventory"));
        assert_eq!(service_of("/internal/unknown", true), None);
        assert_eq!(service_of("/products/7", true), None);
    }

    #[test]
    fn what_services_tell_operators_is_not_for_customers() {
        for path in ["/livez", "/readyz", "/metrics", "/metrics/x"] {
            assert_eq!(service_of(path, false), None, "{path}");
        }
    }

    #[test]
    fn unusable_files_are_refused() {
        let service = "[[service]]\nname = \"a\"\naddresses = [\"a:1\"]\n";
        let route = |prefix: &str, service: &str| format!("[[route]]\nprefix = {prefix:?}\nservice = {service:?}\n");
        let parse = |text: &str| RouteTable::parse(text).err();
        assert!(matches!(parse("nonsense"), Some(RoutesError::Syntax(_))));
        assert!(matches!(
            parse(&format!("{service}{}", route("x", "a"))),
            Some(RoutesError::BadPrefix(_))
        ));
        assert!(matches!(
            parse(&format!("{service}{}", route("/x/", "a"))),
            Some(RoutesError::BadPrefix(_))
        ));
        assert!(matches!(
            parse(&format!("{service}{}", route("/x", "b"))),
            Some(RoutesError::UnknownService { .. })
        ));
        assert!(matches!(
            parse(&format!("{service}{}", route("/x", "a"))),
            Some(RoutesError::NoFallback)
        ));
        let twice = format!("{service}{}{}", route("/", "a"), route("/", "a"));
        assert!(matches!(parse(&twice), Some(RoutesError::DuplicatePrefix(_))));
        let bad_address =
            "[[service]]\nname = \"a\"\naddresses = [\"a\"]\n[[route]]\nprefix = \"/\"\nservice = \"a\"\n";
        assert!(matches!(parse(bad_address), Some(RoutesError::BadAddress(_))));
    }
}
