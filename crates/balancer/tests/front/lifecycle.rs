//! Draining, gateways that come and go, and several processes behind one socket.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use shop_net::handover::follow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{
    Backend, Client, DEADLINE, Front, eventually, get, limits, routes, start_gateway, status, wait_until_up,
};

#[tokio::test(flavor = "multi_thread")]
async fn draining_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let backend = Backend::start("inventory-1").await;
    let routes = routes(&[&backend], &[]);
    let (public, _gateway) = start_gateway(&path, 0).await;
    let leaving = Front::start_on(follow(path.clone()), public, "balancer-1", &routes, limits(), 1).await;
    let staying = Front::start_on(follow(path), public, "balancer-2", &routes, limits(), 1).await;
    let answered = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (answered, is_over) = (answered.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut client = Client::new(public);
                while !is_over.load(Relaxed) {
                    assert!(client.connect().await, "somebody always listens");
                    let response = client.get("/products/7").await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let at_work = || async { answered.load(Relaxed) > 100 };
    eventually("load", at_work).await;
    let origin = leaving.origin;
    let slow = tokio::spawn(async move { get(origin, "/slow/1200").await });
    let slow_is_at_work = || async { backend.slow_requests() == 1 };
    eventually("slow request at work", slow_is_at_work).await;
    let admin = leaving.admin;
    let draining = tokio::spawn(leaving.balancer.drain());
    eventually("not ready any more", || async move {
        status(&get(admin, "/readyz").await) == 503
    })
    .await;
    let finished = timeout(DEADLINE, draining).await.expect("in time").expect("ran");
    assert!(finished, "everything finished");
    let at_end = answered.load(Relaxed);
    let goes_on = || async { answered.load(Relaxed) > at_end + 100 };
    eventually("load at the one that stays", goes_on).await;
    is_over.store(true, Relaxed);
    for client in clients {
        client.await.expect("no request lost");
    }
    assert_eq!(status(&slow.await.expect("ran")), 200);
    assert_eq!(status(&get(staying.admin, "/readyz").await), 200);
    assert!(
        TcpStream::connect(origin).await.is_err(),
        "the one that left has closed its own sockets"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline() {
    let backend = Backend::start("inventory-1").await;
    let short = balancer::Limits {
        drain_deadline: Duration::from_millis(600),
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), short, 1).await;
    let public = front.public;
    let endless = tokio::spawn(async move { get(public, "/slow/14000").await });
    eventually("at work", || async { backend.count() == 1 }).await;
    assert!(!timeout(DEADLINE, front.balancer.drain()).await.expect("in time"));
    assert_eq!(status(&endless.await.expect("ran")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_restart_is_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let backend = Backend::start("inventory-1").await;
    let (address, gateway) = start_gateway(&path, 0).await;
    let source = follow(path.clone());
    let front = Front::start_on(source, address, "balancer-1", &routes(&[&backend], &[]), limits(), 1).await;
    assert_eq!(status(&get(address, "/products/7").await), 200);
    let mut open = TcpStream::connect(address).await.expect("connected");
    open.write_all(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut first = [0; 12];
    open.read_exact(&mut first).await.expect("an answer");

    gateway.abort();
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, open.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "open connections end, since their network is gone");
    eventually("not ready without a socket", || async {
        status(&get(front.admin, "/readyz").await) == 503
    })
    .await;
    assert_eq!(
        status(&get(front.origin, "/products/7").await),
        200,
        "nothing behind it is disturbed"
    );

    let (address, _gateway) = start_gateway(&path, address.port()).await;
    eventually("served through the new socket", || async move {
        status(&get(address, "/products/7").await) == 200
    })
    .await;
}

/// A balancer as a process of its own, killed with the test.
struct Process {
    child: Child,
    admin: std::net::SocketAddr,
}

impl Process {
    async fn start(name: &str, socket: &Path, routes_file: &Path) -> Self {
        Self::start_logging(name, socket, routes_file, "warn", Stdio::null()).await
    }

    async fn start_logging(name: &str, socket: &Path, routes_file: &Path, what: &str, to: Stdio) -> Self {
        let any_port = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
            listener.local_addr().expect("an address")
        };
        let admin = any_port();
        let child = Command::new(env!("CARGO_BIN_EXE_balancer"))
            .env("GATEWAY_SOCKET", socket)
            .env("ROUTES_FILE", routes_file)
            .env("INSTANCE", name)
            .env("LISTEN_ORIGIN", any_port().to_string())
            .env("LISTEN_PRIVATE", any_port().to_string())
            .env("LISTEN_ADMIN", admin.to_string())
            .env("RUST_LOG", what)
            .stdout(to)
            .spawn()
            .expect("started");
        let process = Self { child, admin };
        wait_until_up(admin, 1).await;
        eventually("ready", || async move { status(&get(admin, "/readyz").await) == 200 }).await;
        process
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A signal that stops a process is taken by one of its threads; the others run until that one has had its turn.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it, in parentheses, may hold anything.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_socket_and_one_may_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let routes_file = folder.path().join("routes.toml");
    let backend = Backend::start("inventory-1").await;
    std::fs::write(&routes_file, routes(&[&backend], &[])).expect("written");
    let (address, _gateway) = start_gateway(&path, 0).await;
    let mut first = Process::start("balancer-1", &path, &routes_file).await;
    let second = Process::start("balancer-2", &path, &routes_file).await;

    let mut served = [0; 2];
    for _ in 0..40 {
        let answer = get(address, "/products/7").await;
        assert_eq!(status(&answer), 200, "{answer}");
        served[usize::from(answer.contains("x-served-by: balancer-2"))] += 1;
    }
    assert!(served.iter().all(|count| *count >= 10), "both get work: {served:?}");

    let all_by_second = async |what: &str| {
        for _ in 0..40 {
            let answer = get(address, "/products/7").await;
            assert!(answer.contains("x-served-by: balancer-2"), "{what}: {answer}");
        }
    };
    let pid = rustix::process::Pid::from_child(&first.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("frozen");
    eventually("all its threads have stopped", || async {
        is_stopped(first.child.id())
    })
    .await;
    all_by_second("who is frozen accepts nothing").await;
    first.kill();
    all_by_second("no new connection is lost").await;
    assert_eq!(status(&get(second.admin, "/readyz").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_line_in_the_log_that_says_who_served_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, log) = (folder.path().join("gateway.sock"), folder.path().join("log"));
    let routes_file = folder.path().join("routes.toml");
    let backend = Backend::start("inventory-1").await;
    std::fs::write(&routes_file, routes(&[&backend], &[])).expect("written");
    let (address, _gateway) = start_gateway(&path, 0).await;
    let to = std::fs::File::create(&log).expect("created").into();
    let _process = Process::start_logging("balancer-1", &path, &routes_file, "info", to).await;

    let answer = get(address, "/products/7").await;
    let request_id = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .expect("an id")
        .trim();
    let line_of_it = || {
        let text = std::fs::read_to_string(&log).expect("readable");
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.into_iter().find(|line| line["request_id"] == request_id)
    };
    eventually("the line", || async { line_of_it().is_some() }).await;
    let line = line_of_it().expect("just seen");
    for (name, value) in [
        ("service", "balancer"),
        ("instance", "balancer-1"),
        ("target", "access"),
        ("method", "GET"),
        ("path", "/products/7"),
        ("upstream", "inventory-1"),
        ("side", "public"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!((&line["status"], &line["tries"]), (&200.into(), &1.into()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_is_named_and_ends_with_64() {
    for (variable, value) in [
        ("LISTEN_ADMIN", "nonsense"),
        ("ROUTES_FILE", "/no/such/file"),
        ("IN_FLIGHT_MAX", "-1"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_balancer"))
            .env(variable, value)
            .output()
            .expect("ran");
        assert_eq!(output.status.code(), Some(64), "{variable}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(variable), "{variable}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stay_are_told_to_go_and_served_until_then() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut client = Client::new(front.public);
    assert!(client.connect().await);
    let before = client.get("/products/7").await.expect("an answer");
    assert!(!before.headers().contains_key("connection"));
    let admin = front.admin;
    let draining = tokio::spawn(front.balancer.drain());
    eventually(
        "draining",
        || async move { status(&get(admin, "/readyz").await) == 503 },
    )
    .await;
    let during = client.get("/products/7").await.expect("an answer");
    assert_eq!(during.headers()["connection"], "close");
    assert!(draining.await.expect("ran"));
}
