//! Who stands behind the candidate, and whether that is enough. No network in here.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::cluster::SyncState;
use crate::fence::members::Answer;
use crate::postgres::Standing;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Promotion loses nothing that was acknowledged.
    Safe { behind: Vec<String> },
    /// It might; what is missing.
    Missing(String),
}

/// Judges by the candidate's own standing and the others' answers, of which some may not have come. `own` must be no
/// older than they are.
pub(super) fn judge(
    candidate: &str,
    own: &Standing,
    sync: Option<&SyncState>,
    answers: &BTreeMap<String, Answer>,
) -> Judgement {
    if !own.in_recovery {
        return Judgement::Missing("this node is no replica".to_owned());
    }
    // Whoever else holds the key before this node is promoted must not count it among those who stand behind him.
    if own.receives {
        return Judgement::Missing("this node has not left its upstream yet".to_owned());
    }
    let Some(sync) = sync else {
        return Judgement::Safe { behind: Vec::new() };
    };
    if let Err(missing) = future_commits_are_safe(candidate, &own.synchronous_standby_names, sync) {
        return Judgement::Missing(missing);
    }
    let (mut behind, mut not) = (Vec::new(), Vec::new());
    for member in sync.members().into_iter().filter(|member| *member != candidate) {
        match stands_behind(candidate, own, member, answers.get(member)) {
            Ok(()) => behind.push(member.to_owned()),
            Err(reason) => not.push(format!("{member} {reason}")),
        }
    }
    let needed = sync.others_needed(candidate);
    if behind.len() >= needed {
        Judgement::Safe { behind }
    } else {
        Judgement::Missing(format!(
            "{} of {needed} members stand behind this node: {}",
            behind.len(),
            not.join(", ")
        ))
    }
}

/// A member that stands behind the candidate has acknowledged nothing that the candidate lacks, and no longer listens
/// to the old leader. The one that `/sync` names as leader is no exception, and a running primary is none: a successor
/// leads before it writes `/sync`.
///
/// Timelines come before positions. Whoever begins a timeline passed a fence, so a log on it has all that was
/// acknowledged on earlier ones, while a log on an earlier one may be longer by what nobody acknowledged: recovery from
/// a crash writes, too.
fn stands_behind(candidate: &str, own: &Standing, name: &str, answer: Option<&Answer>) -> Result<(), String> {
    let member = match answer {
        Some(Ok(member)) => member,
        Some(Err(reason)) => return Err(format!("does not answer ({reason})")),
        None => return Err("does not answer".to_owned()),
    };
    if !member.in_recovery {
        return Err("is a primary".to_owned());
    }
    // The most that the member can be on, and the least that the candidate can.
    let (timeline, ours) = (member.log.timeline_at_most, own.log.timeline_at_least);
    match member.receives_from.as_deref() {
        Some(host) if host == candidate => {}
        Some(host) => return Err(format!("receives from {host}")),
        // Whose log forks off from the candidate's is refused, and connects again and again.
        None if timeline < ours && member.told_to_receive_from.as_deref() == Some(candidate) => {}
        None => return Err("receives from nobody".to_owned()),
    }
    match timeline.cmp(&ours) {
        Ordering::Less => Ok(()),
        Ordering::Greater => Err(format!("is on timeline {timeline}, and this node on {ours}")),
        Ordering::Equal if member.log.position > own.log.position => {
            Err(format!("is ahead by {} bytes", member.log.position - own.log.position))
        }
        // A receiver that is refused says the same of itself as one that is served.
        Ordering::Equal if !own.followers.contains(name) => Err("receives nothing from here yet".to_owned()),
        Ordering::Equal => Ok(()),
    }
}

/// After its promotion, and until it writes `/sync`, the candidate's commits must have reached so many of the members
/// that `/sync`, as it stands, is still true: any quorum + 1 of them include one that has each commit.
///
/// Patroni chooses whom they wait for from `/sync` as it saw it before the fence. The old leader may have changed it
/// since; if it took out one that they may wait for, they would be acknowledged by a node that `/sync` doesn't know.
fn future_commits_are_safe(candidate: &str, synchronous_standby_names: &str, sync: &SyncState) -> Result<(), String> {
    let members = sync.members();
    if members.is_empty() {
        return Ok(());
    }
    let Some(waited_for) = WaitedFor::parse(synchronous_standby_names) else {
        return Err(format!(
            "commits here would wait for {synchronous_standby_names:?}, which says nothing"
        ));
    };
    let strangers = waited_for.names.iter().filter(|name| !members.contains(name.as_str()));
    let others = waited_for.count.saturating_sub(strangers.count());
    let reached = others + usize::from(members.contains(candidate));
    if reached + sync.quorum >= members.len() {
        Ok(())
    } else {
        let needed = members.len() - sync.quorum;
        Err(format!(
            "commits here would reach {reached} of the {needed} members that /sync asks for: they would wait for \
             {synchronous_standby_names:?}"
        ))
    }
}

/// `synchronous_standby_names`: that many of these.
#[derive(Debug, PartialEq, Eq)]
struct WaitedFor {
    count: usize,
    names: Vec<String>,
}

impl WaitedFor {
    /// Reads the forms that Patroni writes; none for the others, and for `*`, which means anybody.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self {
                count: 0,
                names: Vec::new(),
            });
        }
        let (count, list) = match text.strip_suffix(')').and_then(|inner| inner.split_once('(')) {
            Some((head, list)) => {
                let count = head.trim_start_matches("ANY").trim_start_matches("FIRST").trim();
                (count.parse().ok()?, list)
            }
            None => (1, text),
        };
        let names: Option<Vec<_>> = list.split(',').map(Self::name).collect();
        Some(Self { count, names: names? })
    }

    fn name(text: &str) -> Option<String> {
        let text = text.trim();
        let bare = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        (!bare.is_empty() && bare.chars().all(fits)).then(|| bare.to_owned())
    }
}

#[cfg(test)]
mod tests;
