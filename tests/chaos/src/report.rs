//! The table at the end, and the same as JSON.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    fault::{Action, Fault, Role, Target},
    ledger::Acknowledged,
    load::share,
    pulse::{Kind, Pulse, Window},
};

/// What one fault came to.
#[derive(Clone, Debug)]
pub struct Row {
    pub fault: Fault,
    /// Requests of customers a second, of all kinds together.
    pub rate: f64,
    /// Who was hurt, by name, the last time.
    pub victims: Vec<String>,
    /// What there is to say about how they were hurt.
    pub remarks: Vec<String>,
    /// Why it was not done, if it can't be done here. That is no failure, and says nothing.
    pub skipped: Option<String>,
    pub began: Instant,
    /// From the fault until everything that customers do had succeeded again. None if only undoing the fault helped.
    pub served_after: Option<Duration>,
    /// When it was undone.
    pub undone: Instant,
    /// From then until full redundancy. None if that was waited for in vain.
    pub whole_after: Option<Duration>,
    pub ended: Instant,
    pub window: Window,
    /// Failures of what was sent after the fault was done.
    pub failed_later: BTreeMap<Kind, usize>,
    /// Acknowledged, and gone or another.
    pub lost: Vec<String>,
    /// Offending rows of the audit, by check; none if it could not be run.
    pub audit: Option<Vec<(String, u64)>>,
    /// What went wrong with the fault itself.
    pub error: Option<String>,
}

/// The check of the audit that finds what was sold twice.
const STOCK_CHECK: &str = "stock adds up";
/// What customers don't notice. Less than this comes and goes with the rate of the load and a busy machine.
const UNNOTICED_MAX: Duration = Duration::from_secs(2);
/// What a failover may cost.
const FAILOVER_MAX: Duration = Duration::from_secs(5);
/// Between two of a kind, this long is nothing to speak of. What is more comes from the rate of the load.
const INTERVAL_MAX: Duration = Duration::from_millis(500);

impl Row {
    pub fn oversold(&self) -> Option<u64> {
        let checks = self.audit.as_ref()?;
        let stock = checks.iter().filter(|(check, _)| check == STOCK_CHECK);
        Some(stock.map(|(_, offending)| offending).sum())
    }

    /// Whether the stack could not be made whole after it.
    pub fn stays_broken(&self) -> bool {
        // What was never begun needed no mending.
        self.whole_after.is_none() && (self.skipped.is_none() || self.error.is_some())
    }

    /// Who was hurt, and how.
    pub fn hurt(&self) -> String {
        let remarks = self.remarks.iter().map(|remark| format!("({remark})"));
        let hurt = [self.victims.join(", ")].into_iter().chain(remarks);
        hurt.collect::<Vec<_>>().join(" ")
    }

    /// What may never be.
    pub fn offences(&self) -> Vec<String> {
        if self.skipped.is_some() {
            return self.error.iter().cloned().collect();
        }
        let mut offences = self.lost.clone();
        match &self.audit {
            None => offences.push("the audit could not be run".to_owned()),
            Some(checks) => {
                let bad = checks.iter().filter(|(_, offending)| *offending > 0);
                offences.extend(bad.map(|(check, offending)| format!("audit, {check}: {offending} rows")));
            }
        }
        if self.whole_after.is_none() {
            offences.push("the stack did not become whole again".to_owned());
        }
        offences.extend(self.error.clone());
        offences
    }

    /// What customers noticed beyond what is promised of a single one that dies.
    pub fn beyond_promise(&self) -> Vec<String> {
        let Some(promise) = promise(&self.fault) else {
            return Vec::new();
        };
        let kept = || Kind::ALL.into_iter().filter(|kind| !promise.given_up.contains(kind));
        let failed_of = |kind: Kind| match promise.may_fail {
            MayFail::Nothing => self.window.failed_of(kind),
            MayFail::InFlight => self.failed_later.get(&kind).copied().unwrap_or(0),
            MayFail::Pictures if kind == Kind::Picture => 0,
            MayFail::Pictures => self.window.failed_of(kind),
        };
        let mut beyond = Vec::new();
        for kind in kept() {
            let is_reading = matches!(kind, Kind::Browse | Kind::Picture);
            let pause_max = if !is_reading && promise.writes_wait {
                FAILOVER_MAX
            } else {
                UNNOTICED_MAX
            };
            let interval = Duration::from_secs_f64(1.0 / (self.rate * share(kind)));
            let pause_max = pause_max + interval.saturating_sub(INTERVAL_MAX);
            let pause = self.window.pause_of(kind);
            if pause > pause_max {
                beyond.push(format!("{} paused {}", kind.name(), seconds(pause)));
            }
        }
        let failed: usize = kept().map(failed_of).sum();
        if failed > 0 {
            beyond.push(format!("{failed} failed"));
        }
        beyond
    }
}

#[derive(Default)]
enum MayFail {
    #[default]
    Nothing,
    /// Requests in flight are lost with who serves them.
    InFlight,
    /// Who asks for one at the edge, and is told that there is none, gets it from the shop.
    Pictures,
}

/// What customers may notice when something dies.
#[derive(Default)]
struct Promise {
    /// Changes wait for a successor.
    writes_wait: bool,
    may_fail: MayFail,
    /// What nobody is left to serve.
    given_up: &'static [Kind],
}

fn promise(fault: &Fault) -> Option<Promise> {
    let [target] = fault.targets.as_slice() else {
        return None;
    };
    // At the limit of its memory a process is killed, too.
    if !matches!(fault.action, Action::Kill | Action::Stop | Action::Memory) || fault.times > 1 {
        return None;
    }
    match *target {
        Target::One(Role::Gateway) => None,
        Target::One(role) => Some(Promise {
            writes_wait: matches!(role, Role::PostgresPrimary | Role::SessionsPrimary),
            may_fail: match (role, fault.action) {
                (Role::Balancer | Role::Edge, Action::Kill | Action::Memory) => MayFail::InFlight,
                _ => MayFail::Nothing,
            },
            given_up: &[],
        }),
        Target::Every("photo-worker" | "rabbitmq") => Some(Promise::default()),
        Target::Every("edge") => Some(Promise {
            may_fail: MayFail::Pictures,
            ..Promise::default()
        }),
        Target::Every("user") => Some(Promise {
            given_up: &[Kind::LogIn, Kind::Register, Kind::Cart, Kind::Checkout, Kind::Upload],
            ..Promise::default()
        }),
        Target::Every(_) => None,
    }
}

/// The end of a run.
#[derive(Debug)]
pub struct Summary {
    pub acknowledged: Acknowledged,
    pub looked_up: usize,
    /// Found at the very end: acknowledged, and gone or another.
    pub lost: Vec<String>,
    pub photos_failed: usize,
    /// What stopped the run before its end.
    pub cut_short: Option<String>,
    /// The seed that drew the faults, and for how many minutes.
    pub drawn: Option<(u64, u64)>,
    pub rate: f64,
    pub before_faults: Window,
}

impl Summary {
    pub fn is_good(&self, rows: &[Row]) -> bool {
        self.cut_short.is_none() && self.lost.is_empty() && rows.iter().all(|row| row.offences().is_empty())
    }
}

/// A duration as people read it.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn failures(window: &Window) -> String {
    let by_kind = window.failed.iter().filter(|(_, reasons)| !reasons.is_empty());
    let words = by_kind.map(|(kind, reasons)| {
        let reasons: Vec<String> = reasons.iter().map(|(why, count)| format!("{count} {why}")).collect();
        format!("{}: {}", kind.name(), reasons.join(", "))
    });
    words.collect::<Vec<_>>().join("; ")
}

fn pauses(window: &Window) -> String {
    let each = Kind::MAIN.map(|kind| window.longest_pause.get(&kind).copied().map_or("-".to_owned(), seconds));
    each.join(" / ")
}

/// A row as a line of the scoreboard.
pub fn line(row: &Row) -> String {
    if let Some(why) = &row.skipped {
        let mut line = format!("{} ({}): skipped: {why}", row.fault, row.hurt());
        for offence in row.offences() {
            let _ = write!(line, "\n    NEVER MAY HAPPEN: {offence}");
        }
        return line;
    }
    let mut line = format!(
        "{} ({}): {} of {} failed; longest pause {}; whole {} after it was undone",
        row.fault,
        row.hurt(),
        row.window.failed_total(),
        row.window.requests_total(),
        pauses(&row.window),
        row.whole_after.map_or("NEVER".to_owned(), seconds),
    );
    if row.window.not_sent_total() > 0 {
        let _ = write!(
            line,
            "\n    {} more could not come: too many were waiting",
            row.window.not_sent_total()
        );
    }
    let beyond = row.beyond_promise();
    if !beyond.is_empty() {
        let _ = write!(line, "\n    more than is promised: {}", beyond.join(", "));
    }
    let why = failures(&row.window);
    if !why.is_empty() {
        let _ = write!(line, "\n    {why}");
    }
    for offence in row.offences().iter().take(5) {
        let _ = write!(line, "\n    NEVER MAY HAPPEN: {offence}");
    }
    line
}

/// What may stand between two strokes.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

/// The table in Markdown.
pub fn table(rows: &[Row], summary: &Summary) -> String {
    let mut text = String::from(
        "| fault | hurt | failed of all requests | longest pause: browse / log in / cart / checkout | served again after | whole again, once undone | lost | oversold |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        if let Some(why) = &row.skipped {
            let why = cell(&format!("skipped: {why}"));
            let _ = writeln!(
                text,
                "| {} | {} | {why} | - | - | - | - | - |",
                row.fault,
                cell(&row.hurt())
            );
            continue;
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} of {}{} | {} | {} | {} | {} | {} |",
            row.fault,
            cell(&row.hurt()),
            row.window.failed_total(),
            row.window.requests_total(),
            match row.window.not_sent_total() {
                0 => String::new(),
                count => format!(", {count} not sent"),
            },
            pauses(&row.window),
            row.served_after.map_or("it was undone".to_owned(), seconds),
            row.whole_after.map_or("never".to_owned(), seconds),
            row.lost.len(),
            row.oversold().map_or("?".to_owned(), |count| count.to_string()),
        );
    }
    let Acknowledged {
        orders,
        accounts,
        cart_lines,
        photos,
    } = summary.acknowledged;
    let _ = writeln!(
        text,
        "\nAcknowledged: {orders} orders, {accounts} accounts, {cart_lines} changes of carts, {photos} photos. \
         Looked up at the end: {}. Lost: {}.",
        summary.looked_up,
        summary.lost.len() + rows.iter().map(|row| row.lost.len()).sum::<usize>(),
    );
    if summary.photos_failed > 0 {
        let _ = writeln!(
            text,
            "{} photos ended as failed, and are shown so.",
            summary.photos_failed
        );
    }
    let skipped = rows.iter().filter(|row| row.skipped.is_some()).count();
    if skipped > 0 {
        let _ = writeln!(
            text,
            "{skipped} of {} faults were skipped: they can't be done here.",
            rows.len()
        );
    }
    let _ = writeln!(
        text,
        "Before the first fault: {} of {} requests failed; longest pause {}.",
        summary.before_faults.failed_total(),
        summary.before_faults.requests_total(),
        pauses(&summary.before_faults)
    );
    let _ = match rows.iter().filter(|row| !row.beyond_promise().is_empty()).count() {
        0 => writeln!(text, "No fault cost customers more than is promised of it."),
        count => writeln!(
            text,
            "{count} of {} faults cost customers more than is promised of them:",
            rows.len()
        ),
    };
    for row in rows {
        let beyond = row.beyond_promise();
        if !beyond.is_empty() {
            let _ = writeln!(text, "- {}: {}", row.fault, beyond.join(", "));
        }
    }
    if let Some((seed, minutes)) = summary.drawn {
        let _ = writeln!(text, "Drawn by SEED={seed} MINUTES={minutes}.");
    }
    for lost in summary.lost.iter().take(20) {
        let _ = writeln!(text, "LOST: {lost}");
    }
    if let Some(why) = &summary.cut_short {
        let _ = writeln!(text, "Cut short: {why}.");
    }
    text
}

/// All of it, for programs.
pub fn as_json(rows: &[Row], summary: &Summary, pulse: &Pulse) -> Value {
    let at = |moment: Instant| (moment - pulse.started).as_millis() as u64;
    let ms = |duration: Option<Duration>| duration.map(|d| d.as_millis() as u64);
    let window = |window: &Window| {
        let by_kind = Kind::ALL.map(|kind| {
            let reasons = window.failed.get(&kind).cloned().unwrap_or_default();
            let reasons = reasons.iter().map(|(why, count)| (why.to_string(), json!(count)));
            let of_kind = json!({
                "requests": window.requests.get(&kind).copied().unwrap_or(0),
                "failed": reasons.collect::<serde_json::Map<_, _>>(),
                "not_sent": window.not_sent.get(&kind).copied().unwrap_or(0),
                "longest_pause_ms": ms(window.longest_pause.get(&kind).copied()),
            });
            (kind.name().to_owned(), of_kind)
        });
        by_kind.into_iter().collect::<serde_json::Map<_, _>>()
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "fault": row.fault.to_string(), "victims": row.victims, "remarks": row.remarks, "skipped": row.skipped,
                "began_ms": at(row.began), "undone_ms": at(row.undone), "ended_ms": at(row.ended),
                "served_after_ms": ms(row.served_after), "whole_after_ms": ms(row.whole_after),
                "by_kind": window(&row.window), "lost": row.lost, "oversold": row.oversold(),
                "audit": row.audit, "beyond_promise": row.beyond_promise(), "offences": row.offences(),
            })
        })
        .collect();
    let seconds = pulse.seconds().into_iter().map(|(kind, seconds)| {
        let counts: Vec<[u32; 2]> = seconds.iter().map(|s| [s.succeeded, s.failed]).collect();
        (kind.name().to_owned(), json!(counts))
    });
    json!({
        "rate_per_second": summary.rate, "seed": summary.drawn.map(|(seed, _)| seed),
        "minutes": summary.drawn.map(|(_, minutes)| minutes), "cut_short": summary.cut_short,
        "acknowledged": {
            "orders": summary.acknowledged.orders, "accounts": summary.acknowledged.accounts,
            "cart_changes": summary.acknowledged.cart_lines, "photos": summary.acknowledged.photos,
        },
        "looked_up": summary.looked_up, "lost": summary.lost, "photos_failed": summary.photos_failed,
        "before_faults": window(&summary.before_faults), "rows": rows,
        "seconds_succeeded_failed": seconds.collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault::parse_targets,
        pulse::{End, Failure},
        settings::RATE_DEFAULT,
    };

    fn row(targets: &str, browse_pause_ms: u64, checkout_pause_ms: u64) -> Row {
        let now = Instant::now();
        let mut window = Window::default();
        let pauses = [(Kind::Browse, browse_pause_ms), (Kind::Checkout, checkout_pause_ms)];
        window.longest_pause = pauses.map(|(kind, ms)| (kind, Duration::from_millis(ms))).into();
        Row {
            fault: Fault::new(Action::Kill, &parse_targets(targets).unwrap()),
            rate: RATE_DEFAULT,
            victims: vec!["somebody-1".to_owned()],
            remarks: Vec::new(),
            skipped: None,
            began: now,
            served_after: Some(Duration::from_secs(2)),
            undone: now,
            whole_after: Some(Duration::from_secs(9)),
            ended: now,
            window,
            failed_later: BTreeMap::new(),
            lost: Vec::new(),
            audit: Some(vec![(STOCK_CHECK.to_owned(), 0)]),
            error: None,
        }
    }

    fn summary() -> Summary {
        Summary {
            acknowledged: Acknowledged::default(),
            looked_up: 7,
            lost: Vec::new(),
            photos_failed: 0,
            cut_short: None,
            drawn: None,
            rate: 20.0,
            before_faults: Window::default(),
        }
    }

    #[test]
    fn writes_may_wait_for_a_new_primary_and_pages_may_not() {
        assert!(row("postgres-primary", 300, 4000).beyond_promise().is_empty());
        assert_eq!(row("postgres-primary", 300, 6000).beyond_promise().len(), 1);
        assert_eq!(row("postgres-primary", 3000, 4000).beyond_promise().len(), 1);
        assert_eq!(row("postgres-replica", 300, 4000).beyond_promise().len(), 1);
        assert!(
            row("every-user", 300, 9000).beyond_promise().is_empty(),
            "nobody is left to sell"
        );
        assert_eq!(
            row("every-user", 3000, 300).beyond_promise().len(),
            1,
            "the catalogue still browses"
        );
        assert!(
            row("every-inventory", 9000, 9000).beyond_promise().is_empty(),
            "nothing is promised"
        );
        assert_eq!(row("every-rabbitmq", 300, 3000).beyond_promise().len(), 1);
        // At a twentieth of the rate a checkout comes every 7 s anyway.
        let mut rare = row("postgres-replica", 300, 7000);
        assert_eq!(rare.beyond_promise().len(), 1);
        rare.rate = RATE_DEFAULT / 20.0;
        assert!(rare.beyond_promise().is_empty());
    }

    #[test]
    fn only_requests_in_flight_on_a_killed_balancer_may_fail() {
        for (target, offends) in [("balancer", false), ("inventory", true)] {
            let mut row = row(target, 10, 10);
            row.window
                .failed
                .entry(Kind::Cart)
                .or_default()
                .insert(Failure::ConnectionLost, 2);
            assert_eq!(!row.beyond_promise().is_empty(), offends, "{target}");
            row.failed_later.insert(Kind::Cart, 1);
            assert!(!row.beyond_promise().is_empty(), "{target}: one was sent later");
        }
    }

    #[test]
    fn what_is_lost_or_sold_twice_or_stays_broken_fails_the_run() {
        let good = row("cache", 10, 10);
        assert!(summary().is_good(std::slice::from_ref(&good)));
        let mut bad = [good.clone(), good.clone(), good.clone(), good];
        bad[0].lost.push("order 1".to_owned());
        bad[1].audit = Some(vec![(STOCK_CHECK.to_owned(), 1)]);
        bad[2].whole_after = None;
        bad[3].audit = None;
        for row in &bad {
            assert!(!summary().is_good(std::slice::from_ref(row)), "{row:?}");
        }
        assert_eq!(bad[1].oversold(), Some(1));
    }

    #[test]
    fn what_was_skipped_is_a_row_with_a_reason_and_no_failure() {
        let mut row = row("postgres-primary", 0, 0);
        row.fault.action = Action::Slow;
        row.skipped = Some("neither netem | nor tbf".to_owned());
        (row.audit, row.whole_after, row.served_after) = (None, None, None);
        assert!(summary().is_good(std::slice::from_ref(&row)) && !row.stays_broken());
        let table = table(std::slice::from_ref(&row), &summary());
        let expected = "| slow postgres-primary | somebody-1 | skipped: neither netem / nor tbf | - | - | - | - | - |";
        assert!(table.contains(expected), "{table}");
        assert!(table.contains("1 of 1 faults were skipped"), "{table}");
        assert!(line(&row).contains("skipped: neither"));
        let json = as_json(std::slice::from_ref(&row), &summary(), &Pulse::new());
        assert_eq!(json["rows"][0]["skipped"], "neither netem | nor tbf");
        // What was begun and could not be undone is a failure all the same.
        row.error = Some("the link is still slow".to_owned());
        assert!(!summary().is_good(std::slice::from_ref(&row)) && row.stays_broken());
    }

    #[test]
    fn table_and_json_tell_the_same() {
        let mut rows = [row("postgres-primary", 300, 4040)];
        rows[0].remarks.push("rate 1mbit".to_owned());
        let pulse = Pulse::new();
        pulse.begin(Kind::Cart).end(End::Succeeded);
        let table = table(&rows, &summary());
        let expected = "| kill postgres-primary | somebody-1 (rate 1mbit) | 0 of 0 | 0.3 s / - / - / 4.0 s | 2.0 s | 9.0 s | 0 | 0 |";
        assert!(table.contains(expected), "{table}");
        let json = as_json(&rows, &summary(), &pulse);
        assert_eq!(json["rows"][0]["by_kind"]["checkout"]["longest_pause_ms"], 4040);
        assert_eq!(json["seconds_succeeded_failed"]["cart"][0], json!([1, 0]));
    }
}
