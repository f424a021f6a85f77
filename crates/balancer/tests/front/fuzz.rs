//! Random streams of requests, whole and damaged, against a real balancer with a strict backend.
//!
//! An ordinary test runs a few hundred cases. To look for longer, and at other cases each time:
//!
//! ```text
//! FUZZ_SECONDS=600 cargo test -p balancer --test front fuzz -- --nocapture
//! ```
//!
//! A failure names the case's seed; `FUZZ_SEED=<seed>` runs that case alone.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::generator::{self, Stream};
use crate::recorder::{Recorder, Seen};
use crate::reference::{self, End};
use crate::support::Front;

const CASES: u64 = 400;
const LANES: u64 = 2;
/// Far more than any of these cases needs, and less than the balancer's own deadlines.
const ANSWER_DEADLINE: Duration = Duration::from_secs(8);
/// Between two writes, so that they don't arrive as one.
const PAUSE: Duration = Duration::from_millis(1);

/// Panics in threads that serve. Such a thread goes on with its other connections, so nothing else would tell.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("worker-")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_client_sends_backends_see_only_what_it_asked() {
    count_panics();
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    if let Some(seed) = variable("FUZZ_SEED") {
        return Lane::start().await.run(seed).await;
    }
    let seconds = variable("FUZZ_SECONDS");
    let first: u64 = seconds.map_or(0, |_| rand::random::<u32>().into());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            tokio::spawn(async move {
                let bench = Lane::start().await;
                let seeds = (first + lane..).step_by(LANES as usize);
                let mut cases = 0;
                for seed in seeds {
                    if until.map_or(cases >= CASES / LANES, |until| Instant::now() >= until) {
                        break;
                    }
                    bench.run(seed).await;
                    cases += 1;
                }
                cases
            })
        })
        .collect();
    let mut cases = 0;
    for lane in lanes {
        cases += lane.await.expect("each case passes");
    }
    println!("{cases} cases from seed {first}");
}

/// A balancer and its backend, asked one thing at a time.
struct Lane {
    front: Front,
    recorder: Recorder,
}

/// What came of one stream.
#[derive(Debug)]
struct Outcome {
    statuses: Vec<u16>,
    seen: Vec<Seen>,
}

impl Lane {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let front = recorder.front().await;
        Self { front, recorder }
    }

    async fn run(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = generator::stream(&mut random);
        let cuts = generator::cuts(&mut random, stream.bytes.len());
        let whole = self.send(seed, &stream, &[]).await;
        let in_pieces = self.send(seed, &stream, &cuts).await;
        let (requests, end) = reference::read(&stream.bytes);
        // A length that is none spoils the requests that came with it in one piece, before and behind which it may
        // stand; and a refused request is the last if its body was still to come. All else is the same however it is
        // cut.
        let is_comparable = end == End::Clean || requests.is_empty();
        let common = whole.statuses.len().min(in_pieces.statuses.len());
        assert!(
            !is_comparable || whole.statuses[..common] == in_pieces.statuses[..common],
            "seed {seed}, cut at {cuts:?}: {:?} as a whole, {:?} in pieces: {}",
            whole.statuses,
            in_pieces.statuses,
            stream.bytes.escape_ascii()
        );
        assert_eq!(PANICS.load(Relaxed), 0, "seed {seed}");
    }

    /// Sends a stream in pieces and judges what comes of it.
    async fn send(&self, seed: u64, stream: &Stream, cuts: &[usize]) -> Outcome {
        let context = || format!("seed {seed}, cut at {cuts:?}: {}", stream.bytes.escape_ascii());
        let (requests, end) = reference::read(&stream.bytes);
        let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
        let answers_due = requests.len() + usize::from(end == End::Broken);
        let exchanged = timeout(
            ANSWER_DEADLINE,
            self.exchange(&stream.bytes, cuts, answers_due, &methods),
        );
        let answered = exchanged.await.unwrap_or_else(|_| panic!("it hangs: {}", context()));
        let statuses = reference::answers(&answered, &methods).unwrap_or_else(|why| panic!("{why}: {}", context()));
        let seen = self.recorder.take();
        let outcome = Outcome { statuses, seen };
        let judged = if stream.is_sound {
            judge_sound(&requests, &outcome)
        } else {
            judge(&requests, end, &outcome)
        };
        if let Err(why) = judged {
            panic!("{why}\n{}\n{outcome:?}\nread as {requests:?}, {end:?}", context());
        }
        outcome
    }

    /// Everything that is answered. The client closes its side once it has all the answers that it can expect.
    async fn exchange(&self, bytes: &[u8], cuts: &[usize], answers_due: usize, methods: &[&str]) -> Vec<u8> {
        let stream = TcpStream::connect(self.front.public).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        let (mut reading, mut writing) = stream.into_split();
        let sending = async {
            let mut at = 0;
            for &cut in cuts.iter().chain([&bytes.len()]) {
                // A refused client may be cut off before it has sent everything.
                if writing.write_all(&bytes[at..cut]).await.is_err() {
                    break;
                }
                at = cut;
                if at < bytes.len() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            writing
        };
        let mut answered = Vec::new();
        let receiving = async {
            let mut piece = [0; 16 * 1024];
            while reference::answers(&answered, methods).is_ok_and(|statuses| statuses.len() < answers_due) {
                match reading.read(&mut piece).await {
                    Ok(length) if length > 0 => answered.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
        };
        let (mut writing, ()) = tokio::join!(sending, receiving);
        let _ = writing.shutdown().await;
        let _ = reading.read_to_end(&mut answered).await;
        answered
    }
}

/// Every request of a sound stream is answered, and arrives as it was sent.
fn judge_sound(requests: &[reference::Request], outcome: &Outcome) -> Result<(), String> {
    if outcome.statuses.len() != requests.len() || outcome.statuses.iter().any(|status| *status != 200) {
        return Err("a sound request was not answered".to_owned());
    }
    // What an earlier, broken stream left behind may still turn up, but never as a request.
    let arrived = outcome.seen.iter().filter(|seen| **seen != Seen::Cut);
    if arrived.clone().count() != requests.len() {
        return Err("not every request arrived once".to_owned());
    }
    for (seen, sent) in arrived.zip(requests) {
        if !is_same(seen, sent) {
            return Err(format!("{sent:?} arrived as {seen:?}"));
        }
    }
    Ok(())
}

/// Of a damaged stream, at most what the reference could read arrives, in order, and nothing is the backend's fault.
fn judge(requests: &[reference::Request], end: End, outcome: &Outcome) -> Result<(), String> {
    let mut sent = requests.iter();
    let mut arrived = 0;
    for seen in &outcome.seen {
        match seen {
            Seen::Malformed { why, .. } => return Err(format!("the backend got {why}")),
            Seen::Cut => {}
            Seen::Request(_) if sent.any(|sent| is_same(seen, sent)) => arrived += 1,
            Seen::Request(_) => return Err(format!("nobody asked this: {seen:?}")),
        }
    }
    let served = outcome.statuses.iter().filter(|status| **status == 200).count();
    if arrived != served {
        return Err(format!("{arrived} requests arrived and {served} were served"));
    }
    if let Some(status) = outcome
        .statuses
        .iter()
        .find(|status| **status >= 500 && **status != 501)
    {
        return Err(format!("the client's nonsense was answered with {status}"));
    }
    let answers_max = requests.len() + usize::from(matches!(end, End::Broken | End::Incomplete));
    if outcome.statuses.len() > answers_max {
        return Err("more answers than requests".to_owned());
    }
    if end == End::Broken && requests.is_empty() && !outcome.statuses.iter().all(|status| (400..=501).contains(status))
    {
        return Err("a broken request was not refused".to_owned());
    }
    Ok(())
}

fn is_same(seen: &Seen, sent: &reference::Request) -> bool {
    match seen {
        Seen::Request(seen) => seen.method == sent.method && seen.target == sent.target && seen.body == sent.body,
        _ => false,
    }
}
