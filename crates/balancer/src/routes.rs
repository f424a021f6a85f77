//! The route table: which service answers a request, and within which limits. It is read from one file, and replaced as
//! a whole when that changes.

mod fault;
mod matching;
mod settings;

use std::num::NonZeroU64;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use toml::Spanned;

pub use self::fault::{RoutesError, RoutesFault};
use self::matching::HostPattern;
pub(crate) use self::matching::{Asked, Found};
use self::settings::{FileHeaders, FileMaintenance, FileRateLimits, rate_of};
pub use self::settings::{Headers, Maintenance, Settings};
use crate::balance::Algorithm;
use crate::rate_limit::Rate;

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

/// One prefix of paths, perhaps of certain hosts and for certain methods only.
#[derive(Debug)]
pub struct Route {
    /// What it is called in logs and metrics: the prefix, after the methods and hosts if it has any.
    pub name: String,
    /// `/cart`
    pub prefix: String,
    /// Empty where it is the same for all.
    hosts: Vec<HostPattern>,
    /// Empty where it is the same for all.
    methods: Vec<Method>,
    /// Index into the table's services.
    pub service: usize,
    /// Largest request body.
    pub body_bytes_max: u64,
    /// Until the head of the answer.
    pub deadline: Duration,
    /// Its place in the order of shedding.
    pub class: Class,
    /// What its service does only once, however often and late it arrives.
    pub keyed: Keyed,
    /// Whether whatever its service is sent has the same effect when it arrives twice at once.
    pub idempotent: bool,
    /// How a backend is chosen for it.
    pub balance: Algorithm,
    /// After which another backend is asked for the same GET as well.
    pub hedge_after: Option<Duration>,
    /// Whether its answers may be compressed.
    pub compress: bool,
    /// How often one session may ask.
    pub(crate) session_rate: Option<Rate>,
    /// How often one address may ask, whatever sessions it names.
    pub(crate) address_rate: Option<Rate>,
}

/// What a service knows again when it arrives once more.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Keyed {
    /// Nothing.
    #[default]
    Never,
    /// What carries an `Idempotency-Key`.
    ByHeader,
    /// Everything, by what it says.
    Always,
}

/// A service, and the names and ports under which DNS knows its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNames {
    /// `inventory`
    pub name: String,
    /// `("inventory", 8000)`
    pub addresses: Vec<(String, u16)>,
}

/// All routes and services, and what holds for all of them.
#[derive(Debug)]
pub struct RouteTable {
    /// The one that a request matches first is its route.
    pub routes: Vec<Route>,
    /// What the routes point to.
    pub services: Vec<ServiceNames>,
    /// What holds for all routes.
    pub settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    service: Vec<FileService>,
    route: Vec<FileRoute>,
    #[serde(default)]
    rate_limits: FileRateLimits,
    #[serde(default)]
    maintenance: FileMaintenance,
    #[serde(default)]
    headers: FileHeaders,
    crawlers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileService {
    name: Spanned<String>,
    addresses: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`keyed` is true, false or \"always\"")]
enum FileKeyed {
    ByHeader(bool),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Whole {
    Always,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRoute {
    prefix: Spanned<String>,
    service: Spanned<String>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default)]
    methods: Vec<Spanned<String>>,
    body_bytes_max: Option<u64>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    class: Class,
    keyed: Option<FileKeyed>,
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    balance: Algorithm,
    hedge_after_ms: Option<NonZeroU64>,
    #[serde(default = "yes")]
    compress: bool,
    rate_per_s: Option<Spanned<f64>>,
    burst: Option<Spanned<u32>>,
    address_rate_per_s: Option<Spanned<f64>>,
    address_burst: Option<Spanned<u32>>,
}

fn yes() -> bool {
    true
}

impl RouteTable {
    /// The routes of the shop.
    pub fn built_in() -> Result<Self, RoutesError> {
        Self::parse(DEFAULT_ROUTES)
    }

    /// Reads a routes file.
    pub fn parse(text: &str) -> Result<Self, RoutesError> {
        let file: File = toml::from_str(text).map_err(|error| RoutesError::syntax(text, &error))?;
        Self::build(file).map_err(|Misplaced { fault, at }| RoutesError::at(text, at, fault))
    }

    fn build(file: File) -> Result<Self, Misplaced> {
        let mut services: Vec<ServiceNames> = Vec::new();
        for service in file.service {
            let at = service.name.span().start;
            let service = parse_service(service)?;
            if services.iter().any(|known| known.name == service.name) {
                return Err(RoutesFault::DuplicateService(service.name).at(at));
            }
            services.push(service);
        }
        let settings = Settings::parse(file.rate_limits, file.maintenance, file.headers, file.crawlers)?;
        let mut routes: Vec<Route> = Vec::with_capacity(file.route.len());
        for route in file.route {
            let at = route.prefix.span().start;
            let route = parse_route(route, &services, &settings)?;
            if routes.iter().any(|other| other.rivals(&route)) {
                return Err(RoutesFault::DuplicateRoute(route.name).at(at));
            }
            routes.push(route);
        }
        if !routes.iter().any(Route::takes_everything) {
            return Err(RoutesFault::NoFallback.at(0));
        }
        routes.sort_by_key(Route::precedence);
        Ok(Self {
            routes,
            services,
            settings,
        })
    }
}

/// A fault, and at which byte of the file it is.
#[derive(Debug)]
struct Misplaced {
    fault: RoutesFault,
    at: usize,
}

fn parse_route(file: FileRoute, services: &[ServiceNames], settings: &Settings) -> Result<Route, Misplaced> {
    let at = file.prefix.span().start;
    let prefix = file.prefix.into_inner();
    if !prefix.starts_with('/') || (prefix.ends_with('/') && prefix != "/") || prefix.contains(['"', '\\']) {
        return Err(RoutesFault::BadPrefix(prefix).at(at));
    }
    let service_at = file.service.span().start;
    let Some(service) = services.iter().position(|known| known.name == *file.service.get_ref()) else {
        let unknown = RoutesFault::UnknownService {
            prefix,
            service: file.service.into_inner(),
        };
        return Err(unknown.at(service_at));
    };
    let hosts = file.hosts.into_iter().map(HostPattern::parse);
    let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
    let methods = file.methods.into_iter().map(matching::parse_method);
    let mut methods = methods.collect::<Result<Vec<_>, _>>()?;
    let name = matching::name(&methods, &hosts, &prefix);
    // Who may have the page may ask about it.
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    Ok(Route {
        name,
        prefix,
        hosts,
        methods,
        service,
        body_bytes_max: file.body_bytes_max.unwrap_or(BODY_BYTES_MAX_DEFAULT),
        deadline: Duration::from_millis(file.deadline_ms.unwrap_or(DEADLINE_MS_DEFAULT)),
        class: file.class,
        keyed: match file.keyed {
            None | Some(FileKeyed::ByHeader(false)) => Keyed::Never,
            Some(FileKeyed::ByHeader(true)) => Keyed::ByHeader,
            Some(FileKeyed::Whole(Whole::Always)) => Keyed::Always,
        },
        idempotent: file.idempotent,
        balance: file.balance,
        hedge_after: file.hedge_after_ms.map(|ms| Duration::from_millis(ms.get())),
        compress: file.compress,
        session_rate: rate_of(file.rate_per_s, file.burst)?.unwrap_or(settings.session_rate),
        address_rate: rate_of(file.address_rate_per_s, file.address_burst)?.flatten(),
    })
}

fn parse_service(service: FileService) -> Result<ServiceNames, Misplaced> {
    let addresses = service.addresses.into_iter().map(|address| {
        let at = address.span().start;
        let address = address.into_inner();
        let parsed = address
            .rsplit_once(':')
            .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
            .and_then(|(name, port)| Some((name.to_owned(), port.parse().ok()?)));
        parsed.ok_or_else(|| RoutesFault::BadAddress(address).at(at))
    });
    Ok(ServiceNames {
        name: service.name.into_inner(),
        addresses: addresses.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests;
