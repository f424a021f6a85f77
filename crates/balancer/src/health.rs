//! Follows discovery and asks every backend each second whether it is ready.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use shop_net::discovery::Discovery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use crate::backend::{Backend, Health};
use crate::service::Service;
use crate::upstream::is_own_fault;

const INTERVAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_millis(500);
/// One late answer may be chance.
const LATE_BEFORE_SLOW: u32 = 2;
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n";

/// Keeps a service's backends and what is known of their health up to date, for as long as it is polled.
pub(crate) async fn follow(service: Arc<Service>, mut discovery: Discovery) {
    let mut checks: HashMap<u64, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let addresses = discovery.known().await;
        service.set_addresses(&addresses);
        let backends = service.backends();
        checks.retain(|id, _| backends.iter().any(|backend| backend.id == *id));
        for backend in backends.iter() {
            checks.entry(backend.id).or_insert_with(|| {
                let check = check_forever(service.clone(), backend.clone());
                AbortOnDropHandle::new(tokio::spawn(check))
            });
        }
        discovery.changed().await;
    }
}

async fn check_forever(service: Arc<Service>, backend: Arc<Backend>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut late = 0;
    loop {
        ticks.tick().await;
        let Some(mut found) = check(&backend).await else {
            continue;
        };
        if found == Health::Slow {
            late += 1;
            let before = backend.health();
            if late < LATE_BEFORE_SLOW && before != Health::Unknown {
                found = before;
            }
        } else {
            late = 0;
        }
        let before = backend.set_health(found);
        if before != found {
            info!(
                service = %service.name,
                backend = %backend.name(),
                address = %backend.address,
                from = before.as_str(),
                to = found.as_str(),
                "Backend's health changed"
            );
        }
    }
}

/// None where this process could not even ask.
async fn check(backend: &Backend) -> Option<Health> {
    let stream = match timeout(DEADLINE, TcpStream::connect(backend.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_own_fault(&error) => return None,
        Ok(Err(_)) | Err(_) => {
            backend.set_reached(false);
            return Some(Health::Down);
        }
    };
    backend.set_reached(true);
    Some(match timeout(DEADLINE, ask(stream)).await {
        Err(_) => Health::Slow,
        Ok(Ok(true)) => Health::Up,
        Ok(_) => Health::Down,
    })
}

/// Reads no more than the status line: that is all the answer there is.
async fn ask(mut stream: TcpStream) -> io::Result<bool> {
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.") && answer[8] == b' ' && answer[9] == b'2')
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn health_of_answer(answer: Option<&'static [u8]>) -> Option<Health> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let backend = Backend::new(0, listener.local_addr().expect("an address"));
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a check");
            let mut request = [0; 256];
            let _ = stream.read(&mut request).await;
            match answer {
                Some(answer) => stream.write_all(answer).await.expect("sent"),
                None => std::future::pending().await,
            }
        });
        let health = check(&backend).await;
        answering.abort();
        assert!(backend.is_reached(), "whatever it answers");
        health
    }

    #[tokio::test]
    async fn an_answer_decides() {
        assert_eq!(
            health_of_answer(Some(b"HTTP/1.1 200 OK\r\n\r\n")).await,
            Some(Health::Up)
        );
        assert_eq!(
            health_of_answer(Some(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")).await,
            Some(Health::Down)
        );
        assert_eq!(
            health_of_answer(Some(b"nonsense, but long enough")).await,
            Some(Health::Down)
        );
    }

    #[tokio::test]
    async fn silence_is_slow_and_a_refused_connection_is_down() {
        assert_eq!(health_of_answer(None).await, Some(Health::Slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let backend = Backend::new(0, address);
        backend.set_reached(true);
        assert_eq!(check(&backend).await, Some(Health::Down));
        assert!(!backend.is_reached());
    }
}
