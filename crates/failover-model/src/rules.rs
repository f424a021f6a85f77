/// The rules of the protocol that can be taken out. What is left then is what Patroni does by itself.
///
/// The first four are the protocol's, as first written; the others close what this model found in it, and `timelines`
/// what a test on containers did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// 3: whoever deletes the leader key writes `/sync` back unchanged in the same transaction.
    pub rewrite: bool,
    /// 4: the fence counts members that stand behind the candidate.
    pub count: bool,
    /// 4: the fence ends in a transaction that finds the leader key its own and `/sync` unchanged, and writes both
    /// `/sync` and `promotion`.
    pub seal: bool,
    /// 5: a running primary takes a missing key back only if nobody was promoted since it last led.
    pub retake: bool,
    /// Patroni writes `/sync` only in a transaction that finds the leader key its own.
    pub own_key: bool,
    /// A new `/sync` is written only if each set of its voters that could elect has enough of the old members in it, or
    /// one that has all that the primary had flushed when it last changed `synchronous_standby_names`.
    pub settle: bool,
    /// The fence refuses if the candidate's `synchronous_standby_names` isn't what the sealed `/sync` asks for.
    pub names: bool,
    /// A candidate stops streaming before its fence looks, so that nobody else's fence counts a node about to promote.
    pub detach: bool,
    /// Who stands behind the candidate is judged by the number of the timeline first, and by the position only where
    /// the numbers are equal.
    pub timelines: bool,
    /// The timeline of a promotion gets a greater number than any that was sealed before it.
    pub numbers: bool,
    /// What a standby reports from beyond the end of the log that it shares with the primary acknowledges nothing.
    pub tails: bool,
    /// A primary that took the key back demotes, if it finds when it reads the keys again that it lost it meanwhile.
    /// No rule of the protocol, which has `own_key`, but the other way to close the same.
    pub relook: bool,
}

impl Rules {
    /// The whole protocol.
    pub const ALL: Self = Self {
        rewrite: true,
        count: true,
        seal: true,
        retake: true,
        own_key: true,
        settle: true,
        names: true,
        detach: true,
        timelines: true,
        numbers: true,
        tails: true,
        relook: false,
    };

    /// The protocol as it was before this model was made.
    pub const FIRST: Self = Self {
        own_key: false,
        settle: false,
        names: false,
        detach: false,
        timelines: false,
        numbers: false,
        tails: false,
        ..Self::ALL
    };

    /// A rule by its name.
    pub fn by_name(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "rewrite" => &mut self.rewrite,
            "count" => &mut self.count,
            "seal" => &mut self.seal,
            "retake" => &mut self.retake,
            "own-key" => &mut self.own_key,
            "settle" => &mut self.settle,
            "names" => &mut self.names,
            "detach" => &mut self.detach,
            "timelines" => &mut self.timelines,
            "numbers" => &mut self.numbers,
            "tails" => &mut self.tails,
            "relook" => &mut self.relook,
            _ => return None,
        })
    }
}
