//! Who can reach whom, and who answers.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use chaos::topology::{MEMBERS, Topology};
use system_tests::{
    customer::Customer,
    stack::{Stack, docker},
    wait_until,
};
use tokio::process::Command;

#[tokio::test]
async fn databases_cannot_be_reached_from_the_balancer_or_the_edge() -> Result<()> {
    let stack = Stack::from_env()?;
    for front in ["gateway", "balancer", "edge"] {
        let networks = stack.networks(&stack.one_of(front).await?).await?;
        ensure!(!networks.contains(&"data".to_owned()), "{front} is on {networks:?}");
    }
    // Its private side trusts whoever can reach it.
    let networks = stack.networks(&stack.one_of("balancer").await?).await?;
    ensure!(networks == ["web"], "the balancer is on {networks:?}");
    for store in ["postgres-1", "sessions-1", "cache", "rabbitmq-1", "objects-1", "etcd-1"] {
        let networks = stack.networks(&stack.one_of(store).await?).await?;
        ensure!(networks == ["data"], "{store} is on {networks:?}");
    }
    Ok(())
}

#[tokio::test]
async fn etcd_answers_nobody_but_those_who_keep_their_lease_there() -> Result<()> {
    let stack = Stack::from_env()?;
    let asks = async |from: &str| {
        let container = stack.one_of(from).await?;
        let connect = "timeout 3 bash -c 'exec 3<>/dev/tcp/etcd-1/2379' 2>/dev/null && echo reached || echo refused";
        docker(&["exec", &container.id, "sh", "-c", connect]).await
    };
    for host in ["postgres-1", "etcd-2"] {
        ensure!(asks(host).await?.trim() == "reached", "{host} does not reach etcd");
    }
    for stranger in ["sessions-1", "cache", "rabbitmq-1", "inventory", "user"] {
        ensure!(asks(stranger).await?.trim() == "refused", "{stranger} reaches etcd");
    }
    Ok(())
}

#[tokio::test]
async fn only_the_gateway_publishes_a_port_to_the_outside() -> Result<()> {
    let stack = Stack::from_env()?;
    for container in stack.containers().await? {
        if container.state != "running" || container.service == "gateway" {
            continue;
        }
        let outside: Vec<_> = stack
            .published(&container)
            .await?
            .into_iter()
            .filter(|p| !p.starts_with("127.0.0.1:"))
            .collect();
        ensure!(outside.is_empty(), "{} publishes {outside:?}", container.service);
    }
    Ok(())
}

#[tokio::test]
async fn every_queue_has_a_member_on_each_broker() -> Result<()> {
    let topology = Topology::of(Stack::from_env()?).await?;
    wait_until("all queues have three members", Duration::from_secs(120), || async {
        let queues = topology.queues().await.map_err(|error| format!("{error:#}"))?;
        if queues.iter().all(|queue| queue.online == MEMBERS) {
            Ok(())
        } else {
            Err(format!("{queues:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn every_instance_answers_some_requests_and_says_so() -> Result<()> {
    let stack = Stack::from_env()?;
    let expected: BTreeSet<String> = ["balancer-1", "balancer-2", "inventory-1", "inventory-2"]
        .map(str::to_owned)
        .into();
    let served = std::sync::Mutex::new(BTreeSet::new());
    wait_until(
        "both balancers and both inventories have answered",
        Duration::from_secs(30),
        || async {
            // A connection of its own each time: one connection stays with one balancer.
            let customer = Customer::guest(&stack.shop);
            let response = customer
                .http
                .get(customer.url("/"))
                .send()
                .await
                .map_err(|error| error.to_string())?;
            let by = response
                .headers()
                .get("x-served-by")
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            let mut served = served.lock().expect("no holder panics");
            served.extend(by.split(", ").map(str::to_owned));
            if served.is_superset(&expected) {
                Ok(())
            } else {
                Err(format!("{served:?}"))
            }
        },
    )
    .await
}

#[tokio::test]
async fn a_page_tells_the_way_it_came() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::guest(&stack.shop);
    let response = customer.http.get(customer.url("/products/1")).send().await?;
    let timing: Vec<String> = response
        .headers()
        .get_all("server-timing")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|entry| entry.trim().split(';').next().unwrap_or_default().to_owned())
        .collect();
    for hop in ["balancer", "inventory", "cache"] {
        ensure!(timing.iter().any(|name| name == hop), "no {hop} in {timing:?}");
    }
    ensure!(response.headers().contains_key("x-request-id"), "no request id");
    ensure!(
        response.headers().contains_key("content-security-policy"),
        "no content security policy"
    );
    Ok(())
}

#[tokio::test]
async fn the_shop_is_there_over_tls_and_by_http_2_as_well() -> Result<()> {
    let stack = Stack::from_env()?;
    let gateway = stack.one_of("gateway").await?;
    let published = docker(&["port", &gateway.id, "8443"]).await?;
    let address = published.lines().next().context("8443 is not published")?;
    // With a certificate for development, which nobody has to trust.
    let answer = Command::new("curl")
        .args([
            "--insecure",
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
        ])
        .args([
            "--write-out",
            "%{http_version} %{http_code} %header{content-security-policy}",
        ])
        .arg(format!("https://{address}/"))
        .output()
        .await?;
    let answer = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
    ensure!(answer.starts_with("2 200 default-src"), "{answer}");
    Ok(())
}
