//! Everything that the clients were told, and what follows from it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use shop_db::Position;

use crate::failover::tier::Node;

/// How a write went to its host.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through `shop-db`, to whom that takes for the primary.
    Shop,
    /// To one host, whatever it is.
    Direct,
}

/// A write that was acknowledged.
#[derive(Copy, Clone, Debug)]
pub struct Ack {
    pub number: i64,
    pub way: Way,
    pub node: Node,
    /// The timeline that the host was on; none if it could not be asked any more.
    pub timeline: Option<u32>,
    /// What a later read must have seen to see the row.
    pub position: Option<Position>,
    /// When the attempt that was acknowledged was sent.
    pub sent: Instant,
    pub acked: Instant,
}

/// The memory of the clients.
#[derive(Debug)]
pub struct Ledger {
    /// What the rows of these clients are marked with.
    pub run: String,
    next: AtomicI64,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    acks: Vec<Ack>,
    reads: Vec<(Instant, Node)>,
    last_position: Option<(i64, Position)>,
    refused_writes: BTreeMap<String, usize>,
    failed_reads: Vec<(Instant, String)>,
    late_reads: usize,
    stale_reads: Vec<String>,
}

/// What the clients saw, judged.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Writes that were acknowledged, through `shop-db` and directly.
    pub acked: usize,
    /// Of those, the ones that the cluster no longer has.
    pub lost: Vec<i64>,
    /// Acknowledgements by a host that had been succeeded, or by two hosts on one timeline.
    pub two_primaries: Vec<String>,
    /// Writes that got an error or no answer, and were tried again, by what was seen.
    pub refused_writes: BTreeMap<String, usize>,
    /// The longest time in which no write through `shop-db` was acknowledged.
    pub longest_without_write: Duration,
    /// Reads that were answered.
    pub reads: usize,
    /// Reads after the fault that were not: when, seen from the fault, and what was known of the hosts.
    pub failed_reads: Vec<String>,
    /// The longest time in which no read was answered.
    pub longest_without_read: Duration,
    /// Reads after a write that did not see it.
    pub stale_reads: Vec<String>,
    /// Reads after a write that nobody could serve in time, because nobody who was left was known to have seen it.
    pub late_reads: usize,
}

impl Ledger {
    pub fn new(run: String) -> Self {
        Self {
            run,
            next: AtomicI64::new(1),
            records: Mutex::default(),
        }
    }

    /// A number that no other row of this run has.
    pub fn next_number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub fn note_ack(&self, ack: Ack) {
        let mut records = self.records();
        if let Some(position) = ack.position {
            records.last_position = Some((ack.number, position));
        }
        records.acks.push(ack);
    }

    pub fn note_refusal(&self, seen: String) {
        *self.records().refused_writes.entry(seen).or_default() += 1;
    }

    pub fn note_read(&self, node: Node) {
        self.records().reads.push((Instant::now(), node));
    }

    pub fn note_failed_read(&self, seen: String) {
        self.records().failed_reads.push((Instant::now(), seen));
    }

    pub fn note_late_read(&self) {
        self.records().late_reads += 1;
    }

    pub fn note_stale_read(&self, seen: String) {
        self.records().stale_reads.push(seen);
    }

    /// The newest write that is known with its position.
    pub fn last_position(&self) -> Option<(i64, Position)> {
        self.records().last_position
    }

    /// Writes through `shop-db` that were sent after `since` and acknowledged by a host of which `suits` holds.
    pub fn writes_since(&self, since: Instant, suits: impl Fn(Node) -> bool) -> usize {
        let records = self.records();
        let newest_first = records.acks.iter().rev().take_while(|ack| ack.acked >= since);
        newest_first
            .filter(|ack| ack.way == Way::Shop && ack.sent >= since && suits(ack.node))
            .count()
    }

    /// Reads that were answered after `since` by a host of which `suits` holds.
    pub fn reads_since(&self, since: Instant, suits: impl Fn(Node) -> bool) -> usize {
        let records = self.records();
        let newest_first = records.reads.iter().rev().take_while(|(at, _)| *at >= since);
        newest_first.filter(|(_, node)| suits(*node)).count()
    }

    /// Every acknowledged row must be in `present`; times and failed reads count from `since` on.
    pub fn judge(&self, present: &HashSet<i64>, since: Instant) -> Verdict {
        let records = self.records();
        let now = Instant::now();
        let shop = records
            .acks
            .iter()
            .filter(|ack| ack.way == Way::Shop)
            .map(|ack| ack.acked);
        Verdict {
            acked: records.acks.len(),
            lost: records
                .acks
                .iter()
                .map(|ack| ack.number)
                .filter(|number| !present.contains(number))
                .collect(),
            two_primaries: two_primaries(&records.acks),
            refused_writes: records.refused_writes.clone(),
            longest_without_write: longest_gap(shop, since, now),
            reads: records.reads.len(),
            failed_reads: records
                .failed_reads
                .iter()
                .filter(|(at, _)| *at >= since)
                .map(|(at, seen)| dated(*at, since, seen))
                .collect(),
            longest_without_read: longest_gap(records.reads.iter().map(|(at, _)| *at), since, now),
            stale_reads: records.stale_reads.clone(),
            late_reads: records.late_reads,
        }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no holder panics")
    }
}

impl Verdict {
    /// What must never happen.
    pub fn offences(&self) -> Vec<String> {
        let mut offences = Vec::new();
        if !self.lost.is_empty() {
            let some: Vec<_> = self.lost.iter().take(10).collect();
            offences.push(format!(
                "{} acknowledged writes are lost, {some:?} among them",
                self.lost.len()
            ));
        }
        let lists = [
            ("two primaries acknowledged", &self.two_primaries),
            ("reads failed", &self.failed_reads),
            ("reads did not see what they had to", &self.stale_reads),
        ];
        for (what, list) in lists {
            if let Some(first) = list.first() {
                offences.push(format!("{what} ({} times): {first}", list.len()));
            }
        }
        offences
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} lost, {:.2} s without a write, {} reads, {} failed, {:.2} s without a read",
            self.acked,
            self.lost.len(),
            self.longest_without_write.as_secs_f64(),
            self.reads,
            self.failed_reads.len(),
            self.longest_without_read.as_secs_f64(),
        )?;
        if self.late_reads > 0 {
            write!(f, ", {} reads after a write could not be served yet", self.late_reads)?;
        }
        if !self.refused_writes.is_empty() {
            write!(f, ", tried again: {:?}", self.refused_writes)?;
        }
        Ok(())
    }
}

/// When something happened, seen from the fault.
fn dated(at: Instant, fault_at: Instant, seen: &str) -> String {
    let after = at.saturating_duration_since(fault_at).as_secs_f64();
    let before = fault_at.saturating_duration_since(at).as_secs_f64();
    format!("{:+.2} s: {seen}", after - before)
}

/// The longest time between two moments, the later of them after `since`; `until` is the last.
fn longest_gap(moments: impl Iterator<Item = Instant>, since: Instant, until: Instant) -> Duration {
    let mut sorted: Vec<Instant> = moments.chain([until]).collect();
    sorted.sort();
    let gaps = sorted
        .windows(2)
        .filter(|pair| pair[1] >= since)
        .map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// Says where a host acknowledged a write that was sent after a newer timeline had acknowledged one, and where one
/// timeline has had two primaries. No clock is compared: all moments are those of this process.
fn two_primaries(acks: &[Ack]) -> Vec<String> {
    let mut known: Vec<(&Ack, u32)> = acks.iter().filter_map(|ack| Some((ack, ack.timeline?))).collect();
    known.sort_by_key(|(ack, _)| ack.acked);
    let mut newest = Vec::with_capacity(known.len());
    for (ack, timeline) in &known {
        match newest.last() {
            Some((_, _, seen)) if seen >= timeline => {}
            _ => newest.push((ack.acked, ack.node, *timeline)),
        }
    }
    let mut offences = Vec::new();
    let mut owners: HashMap<u32, Node> = HashMap::new();
    for (ack, timeline) in known {
        let before = newest.partition_point(|(acked, _, _)| *acked < ack.sent);
        if let Some((_, node, newer)) = newest[..before].last()
            && *newer > timeline
        {
            let (old, number) = (ack.node, ack.number);
            offences.push(format!(
                "{old} on timeline {timeline} took write {number} after {node} had led on {newer}"
            ));
        }
        let owner = *owners.entry(timeline).or_insert(ack.node);
        if owner != ack.node {
            offences.push(format!(
                "{owner} and {} both took writes on timeline {timeline}",
                ack.node
            ));
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::tier::POSTGRES;

    fn ack(number: i64, node: usize, timeline: u32, start: Instant, sent_ms: u64, acked_ms: u64) -> Ack {
        Ack {
            number,
            way: Way::Shop,
            node: POSTGRES[node],
            timeline: Some(timeline),
            position: None,
            sent: start + Duration::from_millis(sent_ms),
            acked: start + Duration::from_millis(acked_ms),
        }
    }

    #[test]
    fn a_row_that_was_acknowledged_and_is_gone_is_lost() {
        let (ledger, start) = (Ledger::new("run".to_owned()), Instant::now());
        ledger.note_ack(ack(1, 0, 1, start, 0, 5));
        ledger.note_ack(ack(2, 0, 1, start, 5, 9));
        let verdict = ledger.judge(&HashSet::from([1]), start);
        assert_eq!(verdict.lost, [2]);
        assert_eq!(verdict.offences().len(), 1);
        assert!(ledger.judge(&HashSet::from([1, 2, 3]), start).offences().is_empty());
    }

    #[test]
    fn a_write_that_was_under_way_when_its_host_was_succeeded_is_no_offence() {
        let start = Instant::now();
        assert!(two_primaries(&[ack(1, 0, 1, start, 10, 90), ack(2, 1, 2, start, 20, 30)]).is_empty());
    }

    #[test]
    fn a_write_that_an_old_primary_takes_after_its_successor_has_led_is_an_offence() {
        let start = Instant::now();
        let offences = two_primaries(&[ack(1, 1, 2, start, 20, 30), ack(2, 0, 1, start, 31, 90)]);
        assert_eq!(offences.len(), 1, "{offences:?}");
    }

    #[test]
    fn one_timeline_has_one_primary() {
        let start = Instant::now();
        let offences = two_primaries(&[ack(1, 0, 2, start, 0, 30), ack(2, 1, 2, start, 0, 31)]);
        assert_eq!(offences.len(), 1, "{offences:?}");
        assert!(two_primaries(&[ack(1, 0, 2, start, 0, 30), ack(2, 1, 3, start, 31, 40)]).is_empty());
    }

    #[test]
    fn a_gap_counts_from_the_last_success_before_the_fault_and_up_to_the_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let gap = |since, until| longest_gap([at(0), at(500), at(600), at(900)].into_iter(), since, until);
        assert_eq!(gap(at(550), at(900)), Duration::from_millis(300));
        assert_eq!(gap(at(400), at(900)), Duration::from_millis(500));
        assert_eq!(gap(at(550), at(1900)), Duration::from_secs(1));
    }
}
