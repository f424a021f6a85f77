//! The proxies under test, with one thread each and what they do made as equal as their configuration allows: requests
//! logged, connections kept on both sides, a request id, the client's address and the usual security headers set,
//! readiness checked each second, tries repeated on another upstream.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use shop_front::tls::development;

use crate::backends::{self, wait_until_answered};
use crate::hosts::Hosts;
use crate::process::{Cores, Process};

const HAPROXY: &str = include_str!("../peers/haproxy.cfg");
const NGINX: &str = include_str!("../peers/nginx.conf");
const ROUTES: &str = include_str!("../peers/routes.toml");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Ours,
    Haproxy,
    Nginx,
}

pub(crate) const ALL: [Proxy; 3] = [Proxy::Ours, Proxy::Haproxy, Proxy::Nginx];

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "balancer",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    fn host(self) -> Ipv4Addr {
        match self {
            Self::Ours => Ipv4Addr::new(127, 83, 1, 1),
            Self::Haproxy => Ipv4Addr::new(127, 83, 1, 2),
            Self::Nginx => Ipv4Addr::new(127, 83, 1, 3),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(self) -> SocketAddr {
        (self.host(), 28_080).into()
    }

    /// Where clients connect who speak TLS.
    pub(crate) fn tls_address(self) -> SocketAddr {
        (self.host(), 28_443).into()
    }
}

/// Where things are, and where they may write.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) balancer: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) folder: PathBuf,
    /// A program, with its arguments, that runs the proxies; usually none.
    pub(crate) under: Vec<String>,
}

impl Place {
    /// Makes the certificate that all proxies show, and its key, in the one file that all of them can read.
    pub(crate) fn make_certificate(&self) -> Result<()> {
        Ok(development::make_if_missing(&self.certificate())?)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }
}

/// A proxy that has found its upstreams.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) proxy: Proxy,
    pub(crate) process: Process,
}

impl Running {
    /// Starts a proxy in front of the upstreams numbered from 1.
    pub(crate) fn start(proxy: Proxy, upstreams: usize, place: &Place) -> Result<Self> {
        let process = match proxy {
            Proxy::Ours => {
                let addresses: Vec<String> = numbered(upstreams)
                    .map(|number| backends::address(number).to_string())
                    .collect();
                start_balancer(1, &addresses, None, place)?
            }
            Proxy::Haproxy => {
                let servers = numbered(upstreams).fold(String::new(), |mut text, number| {
                    let _ = writeln!(text, "    server upstream-{number} {}", backends::address(number));
                    text
                });
                let file = configure(HAPROXY, &servers, proxy, place)?;
                start_peer(proxy, &["haproxy", "-db", "-f", &file], place)?
            }
            Proxy::Nginx => {
                let servers = numbered(upstreams).fold(String::new(), |mut text, number| {
                    let _ = writeln!(
                        text,
                        "    server {} max_fails=1 fail_timeout=1s;",
                        backends::address(number)
                    );
                    text
                });
                let file = configure(NGINX, &servers, proxy, place)?;
                let mut command = vec!["nginx", "-c", &file];
                if !place.under.is_empty() {
                    // As another user, a worker could write down nothing of what is found out about it.
                    command.extend(["-g", "master_process off;"]);
                }
                start_peer(proxy, &command, place)?
            }
        };
        let mut running = Self { proxy, process };
        if matches!(proxy, Proxy::Ours) {
            // Until it has seen a backend it serves as well, and sends each client elsewhere with its answer.
            wait_until_answered(admin(1), "/readyz", &mut running.process)?;
        }
        wait_until_answered(proxy.address(), "/bytes/1", &mut running.process)?;
        Ok(running)
    }
}

fn numbered(count: usize) -> impl Iterator<Item = usize> {
    1..=count
}

fn start_peer(proxy: Proxy, command: &[&str], place: &Place) -> Result<Process> {
    start(proxy.name(), command, &[], place)
}

fn start(name: &str, command: &[&str], env: &[(&str, String)], place: &Place) -> Result<Process> {
    let command: Vec<&str> = place
        .under
        .iter()
        .map(String::as_str)
        .chain(command.iter().copied())
        .collect();
    Process::start(name, Cores::Measured, &place.folder, &command, env)
}

fn configure(template: &str, servers: &str, proxy: Proxy, place: &Place) -> Result<String> {
    let folder = place.folder.to_str().context("the folder's path")?;
    let text = template
        .replace("@servers@", servers.trim_end())
        .replace("@listen@", &proxy.address().to_string())
        .replace("@listen-tls@", &proxy.tls_address().to_string())
        .replace("@folder@", folder);
    let file = place.folder.join(format!("{}.conf", proxy.name()));
    fs::write(&file, text)?;
    Ok(file.to_str().context("the file's path")?.to_owned())
}

/// Several balancers on the gateway's socket, and the gateway.
#[derive(Debug)]
pub(crate) struct Pair {
    _gateway: Process,
    pub(crate) balancers: Vec<Process>,
}

impl Pair {
    /// Two balancers, which find their upstreams by the name in `hosts`.
    pub(crate) fn start(hosts: &Hosts, place: &Place) -> Result<Self> {
        let socket = place.folder.join("gateway.sock");
        let address = |port: u16| SocketAddr::from((Proxy::Ours.host(), port)).to_string();
        let gateway = Process::start(
            "gateway",
            Cores::Measured,
            &place.folder,
            &[place.gateway.to_str().context("the gateway's path")?],
            &[
                ("LISTEN_SHOP", Proxy::Ours.address().to_string()),
                ("LISTEN_EDGE", address(28_081)),
                ("LISTEN_ADMIN", address(28_082)),
                ("GATEWAY_SHOP_SOCKET", socket.display().to_string()),
                (
                    "GATEWAY_EDGE_SOCKET",
                    place.folder.join("edge.sock").display().to_string(),
                ),
                ("INSTANCE", "gateway-1".to_owned()),
            ],
        )?;
        let name = format!("{}:{}", hosts.name(), backends::PORT);
        let balancers = (1..=2)
            .map(|number| {
                let mut balancer = start_balancer(number, std::slice::from_ref(&name), Some((&socket, hosts)), place)?;
                wait_until_answered(admin(number), "/readyz", &mut balancer)?;
                Ok(balancer)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut pair = Self {
            _gateway: gateway,
            balancers,
        };
        wait_until_answered(Proxy::Ours.address(), "/bytes/1", &mut pair.balancers[0])?;
        Ok(pair)
    }
}

/// The operators' address of one of our balancers.
pub(crate) fn admin(number: usize) -> SocketAddr {
    let offset = u16::try_from(number).unwrap_or(0);
    (Proxy::Ours.host(), 28_100 + offset).into()
}

fn start_balancer(
    number: usize,
    addresses: &[String],
    pair: Option<(&Path, &Hosts)>,
    place: &Place,
) -> Result<Process> {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("{address:?}")).collect();
    let routes = place.folder.join(format!("routes-{number}.toml"));
    fs::write(&routes, ROUTES.replace("@addresses@", &quoted.join(", ")))?;
    let port =
        |base: u16| SocketAddr::from((Proxy::Ours.host(), base + u16::try_from(number).unwrap_or(0))).to_string();
    let mut env = vec![
        ("LISTEN_PUBLIC", Proxy::Ours.address().to_string()),
        ("LISTEN_ORIGIN", port(28_200)),
        ("LISTEN_PRIVATE", port(28_300)),
        ("LISTEN_ADMIN", admin(number).to_string()),
        ("ROUTES_FILE", routes.display().to_string()),
        ("INSTANCE", format!("balancer-{number}")),
        ("WORKERS", "1".to_owned()),
        ("CONNECTIONS_MAX", "15000".to_owned()),
        // As in its image.
        ("MIMALLOC_PURGE_DELAY", "10".to_owned()),
    ];
    let binary = place.balancer.to_str().context("the balancer's path")?;
    let name = format!("balancer-{number}");
    let Some((socket, hosts)) = pair else {
        let certificate = place.certificate().display().to_string();
        env.extend([
            ("LISTEN_PUBLIC_TLS", Proxy::Ours.tls_address().to_string()),
            ("TLS_CERTIFICATE_FILE", certificate.clone()),
            ("TLS_KEY_FILE", certificate),
        ]);
        return start(&name, &[binary], &env, place);
    };
    env.push(("GATEWAY_SOCKET", socket.display().to_string()));
    let command = hosts.command(binary)?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    Process::start(&name, Cores::Measured, &place.folder, &command, &env)
}
