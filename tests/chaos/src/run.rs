//! One run: load, faults one after another, and the reckoning.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{Action, Fault},
    inject::{Damage, Refusal},
    ledger::Ledger,
    load::{Catalogue, Load},
    lookup::{self, Found},
    marks, plan,
    pulse::{Kind, Pulse},
    report::{self, Row, Summary},
    screen::Screen,
    settings::{Plan, Settings},
    stack::{Container, Stack},
    topology::{Topology, label},
};

/// What is dead, frozen, cut off, slow or full is so for so long. What others ask a dead one may seem to work while it is
/// away for a moment only: its kernel, or its successor's, tells them then.
const ABSENCE: Duration = Duration::from_secs(10);
/// What ended at the limit of its memory starts again by itself, hardly before this.
const RESTART_MIN: Duration = Duration::from_secs(3);
/// And until customers are served again, but not for ever.
const DEAD_MAX: Duration = Duration::from_secs(20);
/// Where nobody is left to serve, nothing would be gained by waiting.
const NOBODY_LEFT: Duration = Duration::from_secs(6);
/// A database may have to be copied anew, or to archive first what it had left: on a machine that is full, half a minute for
/// each segment.
const WHOLE_DEADLINE: Duration = Duration::from_secs(300);
/// Each look costs the machine something.
const LOOK_INTERVAL: Duration = Duration::from_millis(700);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longer than any request lasts.
const SETTLE_DEADLINE: Duration = Duration::from_secs(25);
const FOUND_WHOLE_DEADLINE: Duration = Duration::from_secs(90);
const WARM_UP_DEADLINE: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(8);
const RESTOCK_DEADLINE: Duration = Duration::from_secs(120);
/// Of those who had logged in before a fault, so many are asked after it whether they still are.
const SESSIONS_ASKED: usize = 10;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub rows: Vec<Row>,
    pub summary: Summary,
    pub pulse: Arc<Pulse>,
}

/// Everything that the steps of a run have in common.
struct Run {
    topology: Topology,
    damage: Damage,
    pulse: Arc<Pulse>,
    ledger: Arc<Mutex<Ledger>>,
    board: Arc<Board>,
    rate: f64,
}

/// Breaks the stack as the settings say. Whatever ends it, the stack is whole afterwards, or it is said that it is not.
pub async fn run(settings: &Settings, screen: Screen, interrupted: &CancellationToken) -> Result<Outcome> {
    let board = Arc::new(Board {
        screen: Mutex::new(screen),
        doing: Mutex::default(),
    });
    let (topology, catalogue) = tokio::select! {
        ready = prepare(&settings.stack, &board) => ready?,
        () = interrupted.cancelled() => bail!("interrupted before anything was done"),
    };

    let (pulse, ledger) = (Pulse::new(), Arc::new(Mutex::new(Ledger::default())));
    let addresses = (settings.stack.shop.clone(), settings.stack.edge.clone());
    let load = Load::start(addresses, catalogue, settings.rate, pulse.clone(), ledger.clone())?;
    let drawing = tokio::spawn(draw(board.clone(), pulse.clone()));
    let run = Run {
        topology,
        damage: Damage::new(settings.stack.clone()),
        pulse: pulse.clone(),
        ledger: ledger.clone(),
        board: board.clone(),
        rate: settings.rate,
    };

    let mut rows = Vec::new();
    let mut warm_at = Instant::now();
    let mut cut_short = tokio::select! {
        left_out = async {
            let warm = run.warm_up().await;
            warm_at = Instant::now();
            match warm {
                Ok(()) => run.inflict_all(&settings.plan, &mut rows).await,
                Err(error) => Some(format!("{error:#}")),
            }
        } => left_out,
        () = interrupted.cancelled() => Some("interrupted".to_owned()),
    };
    if !run.damage.is_empty() {
        board.say("Making the stack whole again");
        if let Err(error) = run.make_whole(&run.damage.victims(), WHOLE_DEADLINE).await {
            let left = format!("the stack was left broken ({error:#}): make heal");
            cut_short = Some(cut_short.map_or(left.clone(), |why| format!("{why}; {left}")));
        }
    }
    board.doing("letting the last customers finish");
    if !load.stop().await {
        cut_short.get_or_insert_with(|| "some customers never finished".to_owned());
    }
    let ledger = std::mem::take(&mut *ledger.lock().expect("no holder panics"));
    let acknowledged = ledger.acknowledged();
    let mut lost: Vec<String> = unclaimed_offences(&ledger, &rows);
    board.doing("looking up all that was acknowledged");
    let found = tokio::select! {
        biased;
        () = interrupted.cancelled() => {
            cut_short.get_or_insert_with(|| "interrupted".to_owned());
            Found::default()
        }
        found = lookup::everything(ledger, &settings.stack.shop) => found,
    };
    drawing.abort();
    board.clear();
    lost.extend(found.lost);
    // What was missed after its fault is not missed once more.
    lost.retain(|what| rows.iter().all(|row: &Row| !row.lost.contains(what)));
    let drawn = match settings.plan {
        Plan::Random { seed, minutes } => Some((seed, minutes)),
        Plan::Listed(_) => None,
    };
    let summary = Summary {
        acknowledged,
        looked_up: found.looked_up,
        lost,
        photos_failed: found.photos_failed,
        cut_short,
        drawn,
        rate: settings.rate,
        before_faults: pulse.window(pulse.started, warm_at),
    };
    Ok(Outcome { rows, summary, pulse })
}

/// Looks whether the stack is whole, and fills its shelves.
async fn prepare(stack: &Stack, board: &Board) -> Result<(Topology, Catalogue)> {
    let topology = Topology::of(stack.clone()).await?;
    board.doing("looking whether the stack is whole");
    wait_until_whole(&topology, &[], None, FOUND_WHOLE_DEADLINE)
        .await
        .context("the stack is not whole to begin with: make heal, and make status until it is")?;
    board.doing("restocking");
    stack.script("restock", &[], RESTOCK_DEADLINE).await?;
    let catalogue = Catalogue::read(&stack.shop).await?;
    Ok((topology, catalogue))
}

/// What customers saw and no row has.
fn unclaimed_offences(ledger: &Ledger, rows: &[Row]) -> Vec<String> {
    let is_claimed = |what: &String| rows.iter().any(|row| row.lost.contains(what));
    let seen = ledger.offences.iter().map(|offence| offence.what.clone());
    seen.filter(|what| !is_claimed(what)).collect()
}

impl Run {
    /// Waits until everything that customers do has worked once.
    async fn warm_up(&self) -> Result<()> {
        self.board.doing("waiting until the first customers are served");
        let started = Instant::now();
        loop {
            let waiting = self.pulse.without_success(&Kind::ALL, started);
            if waiting.is_empty() && started.elapsed() > WARM_UP {
                return Ok(());
            }
            ensure!(
                started.elapsed() < WARM_UP_DEADLINE,
                "in {WARM_UP_DEADLINE:?} nothing succeeded of: {}",
                waiting.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Says why, if not all that was planned was done.
    async fn inflict_all(&self, plan: &Plan, rows: &mut Vec<Row>) -> Option<String> {
        let started = Instant::now();
        let (faults, time): (Box<dyn Iterator<Item = Fault> + Send>, Option<Duration>) = match plan {
            Plan::Listed(faults) => (Box::new(faults.clone().into_iter()), None),
            Plan::Random { seed, minutes } => {
                self.board.say(&format!(
                    "Drawing faults for {minutes} min; once more: SEED={seed} MINUTES={minutes}"
                ));
                (Box::new(plan::random(*seed)), Some(Duration::from_secs(minutes * 60)))
            }
        };
        let count = match plan {
            Plan::Listed(faults) => format!("/{}", faults.len()),
            Plan::Random { .. } => String::new(),
        };
        let mut looked_up = 0;
        for (number, fault) in faults.enumerate() {
            if time.is_some_and(|time| started.elapsed() > time) {
                return None;
            }
            let name = format!("{}{count} {fault}", number + 1);
            let row = self.inflict(&fault, &name, &mut looked_up).await;
            self.board
                .say(&format!("[{}] {}", clock(self.pulse.started), report::line(&row)));
            let stays_broken = row.stays_broken();
            rows.push(row);
            if stays_broken {
                return Some(format!("after \"{fault}\" the stack did not become whole"));
            }
        }
        None
    }

    /// Does one thing, waits, undoes it, waits until the stack is whole, and sees what became of everything.
    async fn inflict(&self, fault: &Fault, name: &str, looked_up: &mut usize) -> Row {
        let began = Instant::now();
        let visitors = self.ledger().newest_sessions(SESSIONS_ASKED);
        let (mut victims, mut served_after, mut hurt, mut undone, mut whole_after, mut error) =
            (Vec::new(), None, began, began, None, None);
        let (mut remarks, mut skipped) = (Vec::new(), None);
        for time in 0..fault.times {
            self.board.doing(&format!("{name}: choosing"));
            let chosen = match self.choose(fault).await {
                Ok(chosen) => chosen,
                Err(why) => {
                    error = Some(format!("{why:#}"));
                    break;
                }
            };
            victims = chosen.iter().map(label).collect();
            self.board.doing(&format!("{name}: {}", victims.join(", ")));
            match self.damage.inflict(fault.action, &chosen).await {
                Ok(said) => remarks = said,
                Err(Refusal::Skipped(why)) => skipped = Some(why),
                Err(Refusal::Failed(why)) => error = Some(format!("{why:#}")),
            }
            if skipped.is_some() && self.damage.is_empty() {
                break;
            }
            if skipped.is_none() {
                marks::mark(fault.action, false, &victims);
                // A stop may have taken long, and what was served before it was done says nothing.
                let since = Instant::now();
                let served = self.wait_until_served(fault, since).await;
                if time == 0 {
                    hurt = since;
                    served_after = served;
                }
                marks::mark(fault.action, true, &victims);
            }
            undone = Instant::now();
            self.board.doing(&format!("{name}: undone, waiting until all is whole"));
            match self.make_whole(&chosen, WHOLE_DEADLINE).await {
                Ok(()) => whole_after = Some(undone.elapsed()),
                Err(why) => {
                    whole_after = None;
                    error = Some(format!("{why:#}"));
                    break;
                }
            }
            if skipped.is_some() {
                break;
            }
        }
        let (mut lost, mut audit) = (Vec::new(), None);
        if skipped.is_none() {
            self.settle().await;
            self.board.doing(&format!("{name}: looking up what was acknowledged"));
            let orders = self.ledger().orders.len();
            lost = lookup::confirmed_orders(&self.ledger, *looked_up).await.lost;
            lost.extend(lookup::sessions(visitors).await.lost);
            *looked_up = orders;
            let seen = self.ledger().offences.clone();
            lost.extend(seen.into_iter().filter(|o| o.at >= began).map(|o| o.what));
            self.board.doing(&format!("{name}: audit"));
            match self.topology.stack.audit_checks().await {
                Ok(checks) => audit = Some(checks),
                Err(why) => error = Some(format!("{why:#}")),
            }
        }
        let ended = Instant::now();
        Row {
            fault: fault.clone(),
            rate: self.rate,
            victims,
            remarks,
            skipped,
            began,
            served_after,
            undone,
            whole_after,
            ended,
            window: self.pulse.window(began, ended),
            failed_later: self.pulse.failed_of_those_sent(hurt, ended),
            lost,
            audit,
            error,
        }
    }

    async fn choose(&self, fault: &Fault) -> Result<Vec<Container>> {
        let mut chosen = Vec::new();
        for target in &fault.targets {
            let more = self.topology.resolve(*target, fault.pick, &chosen).await?;
            chosen.extend(more);
        }
        Ok(chosen)
    }

    /// Lets the fault last. Says how long it took until customers were served again, if they were.
    async fn wait_until_served(&self, fault: &Fault, since: Instant) -> Option<Duration> {
        let (at_least, at_most) = match fault.action {
            action if action.is_timed() => (ABSENCE, ABSENCE),
            // It starts again by itself.
            Action::Memory => (RESTART_MIN, DEAD_MAX),
            _ if fault.leaves_nobody() => (NOBODY_LEFT, NOBODY_LEFT),
            _ => (ABSENCE, DEAD_MAX),
        };
        let mut served_after = None;
        while since.elapsed() < at_most && (served_after.is_none() || since.elapsed() < at_least) {
            if served_after.is_none() && self.pulse.without_success(&Kind::MAIN, since).is_empty() {
                served_after = Some(since.elapsed());
            }
            sleep(POLL_INTERVAL).await;
        }
        served_after
    }

    /// Undoes all damage, and waits until nothing is missing.
    async fn make_whole(&self, victims: &[Container], deadline: Duration) -> Result<()> {
        wait_until_whole(&self.topology, victims, Some(&self.damage), deadline).await?;
        self.damage.forget();
        Ok(())
    }

    /// Waits until no request is under way that began before now, and each kind has succeeded.
    async fn settle(&self) {
        let since = Instant::now();
        while since.elapsed() < SETTLE_DEADLINE {
            if self.pulse.is_settled(since) && self.pulse.without_success(&Kind::MAIN, since).is_empty() {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder panics")
    }
}

/// Looks until nothing is missing, undoing damage as often as it has to: what was being done when somebody interrupted it
/// may be done a moment later.
async fn wait_until_whole(
    topology: &Topology,
    suspects: &[Container],
    damage: Option<&Damage>,
    deadline: Duration,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let healed = match damage {
            Some(damage) => damage.heal().await,
            None => Ok(()),
        };
        let missing = match healed {
            Ok(()) => topology.whole(suspects).await,
            Err(error) => Err(format!("{error:#}")),
        };
        let Err(missing) = missing else {
            return Ok(());
        };
        ensure!(started.elapsed() < deadline, "not whole after {deadline:?}: {missing}");
        sleep(LOOK_INTERVAL).await;
    }
}

/// What is seen in the terminal.
#[derive(Debug)]
struct Board {
    screen: Mutex<Screen>,
    doing: Mutex<String>,
}

impl Board {
    fn say(&self, line: &str) {
        self.screen.lock().expect("no holder panics").say(line);
    }

    fn doing(&self, what: &str) {
        what.clone_into(&mut self.doing.lock().expect("no holder panics"));
    }

    fn clear(&self) {
        self.screen.lock().expect("no holder panics").draw(&[]);
    }
}

async fn draw(board: Arc<Board>, pulse: Arc<Pulse>) {
    loop {
        let doing = board.doing.lock().expect("no holder panics").clone();
        let mut lines = vec![format!("[{}] {doing}", clock(pulse.started))];
        let totals = pulse.totals();
        for kind in Kind::ALL {
            let (succeeded, failed, last) = totals.get(&kind).copied().unwrap_or_default();
            let last = last.map_or("never".to_owned(), |ago| format!("{} ago", report::seconds(ago)));
            lines.push(format!(
                "  {:<9} {succeeded:>7} succeeded {failed:>5} failed   last success {last}",
                kind.name()
            ));
        }
        board.screen.lock().expect("no holder panics").draw(&lines);
        sleep(Duration::from_millis(500)).await;
    }
}

/// The time that has passed.
fn clock(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
