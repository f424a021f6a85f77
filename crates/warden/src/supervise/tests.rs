use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use shop_testkit::wait_until;
use tempfile::TempDir;

use super::*;

/// Long enough for any machine; none of the tests waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node whose programs are shell scripts in a folder of its own.
struct Node {
    folder: TempDir,
    config: SuperviseConfig,
}

impl Node {
    fn new(patroni: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, body: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", folder.path().display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let config = SuperviseConfig {
            prepare: script("prepare", "echo prepared >>journal"),
            configure: script("configure", "echo configured >>journal; echo 'password: secret'"),
            patroni_config: folder.path().join("patroni.yml"),
            patroni: script("patroni", patroni),
            watcher: Some(script("watcher", "echo $$ >>watchers; exec sleep 60")),
        };
        Self { folder, config }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn watchers(&self) -> Vec<Pid> {
        self.read("watchers")
            .lines()
            .map(|line| Pid::from_raw(line.parse().unwrap()).unwrap())
            .collect()
    }
}

async fn ends_with(node: &Node, signals: mpsc::Receiver<Signal>) -> String {
    let code = timeout(DEADLINE, run(&node.config, signals)).await.unwrap().unwrap();
    format!("{code:?}")
}

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

#[tokio::test]
async fn patroni_is_started_with_a_private_configuration_and_its_status_is_ours() {
    let node = Node::new("echo \"patroni $1\" >>journal; exit 7");
    let (_sender, signals) = mpsc::channel(1);
    assert_eq!(ends_with(&node, signals).await, code(7));
    let path = &node.config.patroni_config;
    assert_eq!(
        node.read("journal"),
        format!("prepared\nconfigured\npatroni {}\n", path.display())
    );
    assert_eq!(node.read("patroni.yml"), "password: secret\n");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn signals_are_passed_on_and_patroni_takes_its_time() {
    // Not SIGHUP, which a shell can't trap where it was ignored from the start, as under nohup.
    let node = Node::new(
        "trap 'echo usr1 >>journal' USR1; trap 'echo term >>journal; exit 0' TERM\necho ready >>journal\nwhile :; do sleep 0.05; done",
    );
    let (sender, signals) = mpsc::channel(2);
    let journal_has = async |line: &str| {
        wait_until(line, DEADLINE, async || {
            node.read("journal").lines().any(|found| found == line)
        })
        .await;
    };
    let (ended, ()) = tokio::join!(ends_with(&node, signals), async {
        journal_has("ready").await;
        sender.send(Signal::USR1).await.unwrap();
        journal_has("usr1").await;
        sender.send(Signal::TERM).await.unwrap();
    });
    assert_eq!(ended, code(0));
    journal_has("term").await;
}

#[tokio::test]
async fn a_patroni_that_is_killed_is_told_from_one_that_exits() {
    let node = Node::new("kill -9 $$");
    let (_sender, signals) = mpsc::channel(1);
    assert_eq!(ends_with(&node, signals).await, code(128 + 9));
}

#[tokio::test]
async fn a_watcher_that_dies_is_started_again_and_patroni_does_not_notice() {
    let node = Node::new("trap 'exit 0' TERM; echo started >>journal; while :; do sleep 0.05; done");
    let (sender, signals) = mpsc::channel(1);
    let (ended, ()) = tokio::join!(ends_with(&node, signals), async {
        for watchers in 1..=2 {
            wait_until("a watcher", DEADLINE, async || node.watchers().len() == watchers).await;
            kill_process(node.watchers()[watchers - 1], Signal::KILL).unwrap();
        }
        wait_until("the third watcher", DEADLINE, async || node.watchers().len() == 3).await;
        sender.send(Signal::TERM).await.unwrap();
    });
    assert_eq!(ended, code(0));
    assert_eq!(node.read("journal").matches("started").count(), 1);
    // The last watcher went with its supervisor.
    let last = node.watchers()[2];
    wait_until("no watcher", DEADLINE, async || {
        rustix::process::test_kill_process(last).is_err()
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_be_prepared_starts_nothing() {
    let mut node = Node::new("echo patroni >>journal");
    node.config.prepare = "/bin/false".into();
    let (_sender, signals) = mpsc::channel(1);
    let error = run(&node.config, signals).await.unwrap_err();
    assert!(error.to_string().contains("/bin/false"), "{error}");
    assert_eq!(node.read("journal"), "");
}

#[tokio::test]
async fn a_signal_ends_the_preparation() {
    let mut node = Node::new("echo patroni >>journal");
    fs::write(&node.config.prepare, "#!/bin/sh\nexec sleep 60\n").unwrap();
    node.config.watcher = None;
    let (sender, signals) = mpsc::channel(1);
    sender.send(Signal::TERM).await.unwrap();
    assert_eq!(ends_with(&node, signals).await, code(128 + 15));
    assert_eq!(node.read("journal"), "");
}
