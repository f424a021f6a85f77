//! Which instance of its kind this process is, so that a person reads `inventory-2` and not a container's id.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::dns;

/// Docker's own DNS server, the same in every container on a network of the user's.
const DOCKER_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);
const QUERY_DEADLINE: Duration = Duration::from_millis(300);
const QUERY_TRIES: u32 = 3;
const HOSTNAME_LOOKUP_DEADLINE: Duration = Duration::from_secs(1);
const ADDRESSES_MAX: usize = 4;
const NAME_BYTES_MAX: usize = 64;

/// The explicit name if there is one, else the container's name as Docker's DNS tells it, shortened to its kind and
/// number, else the host's name, else the kind.
pub async fn name(explicit: Option<&str>, kind: &str) -> String {
    if let Some(explicit) = explicit.map(str::trim).filter(|explicit| !explicit.is_empty()) {
        return clean(explicit);
    }
    let hostname = hostname().await;
    if let Some(hostname) = &hostname
        && docker_dns_is_in_use().await
    {
        for address in own_addresses(hostname).await {
            for container in ask(DOCKER_DNS, address).await.unwrap_or_default() {
                if let Some(short) = shorten(&container, kind) {
                    return short;
                }
            }
        }
    }
    clean(hostname.as_deref().unwrap_or(kind))
}

async fn hostname() -> Option<String> {
    let text = tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

async fn docker_dns_is_in_use() -> bool {
    let resolvers = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    resolvers
        .lines()
        .any(|line| line.split_whitespace().eq(["nameserver", "127.0.0.11"]))
}

/// Docker writes the container's addresses beside its host name into /etc/hosts.
async fn own_addresses(hostname: &str) -> Vec<Ipv4Addr> {
    let Ok(Ok(found)) = timeout(HOSTNAME_LOOKUP_DEADLINE, tokio::net::lookup_host((hostname, 0))).await else {
        return Vec::new();
    };
    let mut addresses: Vec<Ipv4Addr> = found
        .filter_map(|address| match address.ip() {
            IpAddr::V4(address) if !address.is_loopback() => Some(address),
            _ => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

async fn ask(server: SocketAddr, address: Ipv4Addr) -> Option<Vec<String>> {
    for _ in 0..QUERY_TRIES {
        if let Ok(answer) = timeout(QUERY_DEADLINE, ask_once(server, address)).await {
            return answer.ok().flatten();
        }
    }
    None
}

async fn ask_once(server: SocketAddr, address: Ipv4Addr) -> std::io::Result<Option<Vec<String>>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    let id = (RandomState::new().build_hasher().finish() & 0xffff) as u16;
    socket.send(&dns::ptr_query(id, address)).await?;
    let mut buffer = [0; dns::MESSAGE_BYTES_MAX];
    let length = socket.recv(&mut buffer).await?;
    Ok(dns::ptr_answers(&buffer[..length], id))
}

/// `zillion-inventory-2.zillion_web` is `inventory-2` to somebody who asks for the kind `inventory`.
fn shorten(container: &str, kind: &str) -> Option<String> {
    let label = container.split('.').next()?.replace('_', "-");
    let (before, number) = label.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_kind = before == kind || before.strip_suffix(kind).is_some_and(|prefix| prefix.ends_with('-'));
    (is_number && is_kind).then(|| format!("{kind}-{number}"))
}

/// Names end up in headers, metrics and logs: only what is harmless there is kept.
fn clean(name: &str) -> String {
    name.chars()
        .filter(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.'))
        .take(NAME_BYTES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_explicit_name_wins_and_is_made_harmless() {
        assert_eq!(name(Some(" inventory-9 "), "inventory").await, "inventory-9");
        assert_eq!(name(Some("a\"b\r\nc"), "inventory").await, "abc");
    }

    #[tokio::test]
    async fn an_empty_explicit_name_counts_as_none() {
        assert!(!name(Some("  "), "inventory").await.is_empty());
    }

    #[test]
    fn containers_of_the_kind_are_shortened_and_others_are_not() {
        assert_eq!(
            shorten("zillion-inventory-2.zillion_web", "inventory").as_deref(),
            Some("inventory-2")
        );
        assert_eq!(
            shorten("my-shop-photo-worker-12.web", "photo-worker").as_deref(),
            Some("photo-worker-12")
        );
        assert_eq!(shorten("zillion_user_1.web", "user").as_deref(), Some("user-1"));
        assert_eq!(shorten("user-1.web", "user").as_deref(), Some("user-1"));
        assert_eq!(shorten("zillion-superuser-1.web", "user"), None);
        assert_eq!(shorten("zillion-user-one.web", "user"), None);
        assert_eq!(shorten("", "user"), None);
    }

    #[tokio::test]
    async fn a_name_server_is_asked_and_believed() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = server.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, client) = server.recv_from(&mut buffer).await.expect("a query");
            let mut answer = buffer[..length].to_vec();
            answer[2] = 0x81;
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 1, 0, 8, 6]);
            answer.extend(b"user-7\0");
            server.send_to(&answer, client).await.expect("sent");
        });
        assert_eq!(ask(address, Ipv4Addr::LOCALHOST).await, Some(vec!["user-7".to_owned()]));
    }

    #[tokio::test]
    async fn a_silent_name_server_costs_a_bounded_time() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = silent.local_addr().expect("an address");
        let answer = timeout(Duration::from_secs(5), ask(address, Ipv4Addr::LOCALHOST)).await;
        assert_eq!(answer.expect("bounded"), None);
    }
}
