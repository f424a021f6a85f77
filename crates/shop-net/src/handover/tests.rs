use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{follow, serve};
use crate::listen::{Accepted, Listeners};

const DEADLINE: Duration = Duration::from_secs(5);

/// A gateway on any free port, as a task that can be killed.
fn start_gateway(path: &std::path::Path) -> (SocketAddr, JoinHandle<()>) {
    start_gateway_that_turns_away(path, None)
}

fn start_gateway_that_turns_away(path: &std::path::Path, after: Option<Duration>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("an address");
    let serving = serve(listener, path, after).expect("a Unix socket");
    (address, tokio::spawn(serving))
}

fn socket_path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    (folder, path)
}

async fn accept(listeners: &mut Listeners) -> Accepted {
    timeout(DEADLINE, listeners.accept())
        .await
        .expect("a connection in time")
}

#[tokio::test]
async fn connections_reach_the_holder_of_the_descriptor() {
    let (_folder, path) = socket_path();
    let (address, _gateway) = start_gateway(&path);
    let mut listeners = follow(path).listeners();
    let mut client = TcpStream::connect(address).await.expect("connected");
    client.write_all(b"hello").await.expect("written");
    let mut accepted = accept(&mut listeners).await;
    let mut greeting = [0; 5];
    accepted.stream.read_exact(&mut greeting).await.expect("read");
    assert_eq!(&greeting, b"hello");
    assert!(!accepted.gone.is_cancelled());
}

#[tokio::test]
async fn while_nobody_serves_clients_wait_or_are_turned_away_as_was_said() {
    for after in [None, Some(Duration::from_millis(10))] {
        let (_folder, path) = socket_path();
        let (address, _gateway) = start_gateway_that_turns_away(&path, after);
        let mut client = TcpStream::connect(address).await.expect("connected");
        let mut byte = [0];
        let patience = if after.is_some() {
            DEADLINE
        } else {
            Duration::from_millis(200)
        };
        let ended = timeout(patience, client.read(&mut byte)).await;
        assert_eq!(ended.is_ok_and(|read| read.is_err()), after.is_some(), "{after:?}");

        // Who comes afterwards is served again.
        let mut listeners = follow(path).listeners();
        let accepting = tokio::spawn(async move { accept(&mut listeners).await });
        let is_served = async {
            while !accepting.is_finished() {
                let _client = TcpStream::connect(address).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, is_served).await.expect("served in time");
    }
}

#[tokio::test]
async fn a_holder_that_starts_before_the_gateway_waits_for_it() {
    let (_folder, path) = socket_path();
    let mut listeners = follow(path.clone()).listeners();
    assert!(timeout(Duration::from_millis(150), listeners.accept()).await.is_err());
    let (address, _gateway) = start_gateway(&path);
    let _client = TcpStream::connect(address).await.expect("connected");
    accept(&mut listeners).await;
}

#[tokio::test]
async fn a_gateway_restart_ends_old_connections_and_brings_the_new_socket() {
    let (_folder, path) = socket_path();
    let (old_address, gateway) = start_gateway(&path);
    let source = follow(path.clone());
    let mut listeners = source.listeners();
    let _client = TcpStream::connect(old_address).await.expect("connected");
    let old = accept(&mut listeners).await;

    gateway.abort();
    timeout(DEADLINE, old.gone.cancelled())
        .await
        .expect("told that the network is gone");
    let (new_address, _gateway) = start_gateway(&path);
    let _client = TcpStream::connect(new_address).await.expect("connected");
    let new = accept(&mut listeners).await;
    assert!(!new.gone.is_cancelled());
    assert!(
        TcpStream::connect(old_address).await.is_err(),
        "the old socket is closed"
    );
}

#[tokio::test]
async fn two_holders_serve_one_socket_and_one_goes_on_alone() {
    let (_folder, path) = socket_path();
    let (address, _gateway) = start_gateway(&path);
    let mut first = follow(path.clone()).listeners();
    let mut second = follow(path).listeners();
    let mut counts = [0; 2];
    for _ in 0..20 {
        let _client = TcpStream::connect(address).await.expect("connected");
        let winner = timeout(DEADLINE, async {
            tokio::select! {
                _ = first.accept() => 0,
                _ = second.accept() => 1,
            }
        });
        counts[winner.await.expect("a connection in time")] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "uneven: {counts:?}");

    drop(first);
    for _ in 0..20 {
        let _client = TcpStream::connect(address).await.expect("connected");
        accept(&mut second).await;
    }
}

#[tokio::test]
async fn somebody_who_speaks_another_protocol_is_not_believed() {
    let (_folder, path) = socket_path();
    let impostor = tokio::net::UnixListener::bind(&path).expect("a Unix socket");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = impostor.accept().await.expect("accepted");
            let _ = stream.write_all(b"zillion-handover 9\n").await;
        }
    });
    let source = follow(path);
    let mut listeners = source.listeners();
    assert!(timeout(Duration::from_millis(300), listeners.accept()).await.is_err());
    assert!(!source.is_open());
}
