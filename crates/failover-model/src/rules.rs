/// The rules of the protocol that can be taken out. What is left then is what Patroni does by itself.
///
/// The first four are the protocol's, as first written; the others close what this model found in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// 3: whoever deletes the leader key writes `/sync` back unchanged in the same transaction.
    pub rewrite: bool,
    /// 4: the fence counts members that stream from the candidate.
    pub count: bool,
    /// 4: the fence ends in a transaction that finds the leader key its own and `/sync` unchanged, and writes both
    /// `/sync` and `promotion`.
    pub seal: bool,
    /// 5: a running primary takes a missing key back only if nobody was promoted since it last led.
    pub retake: bool,
    /// A `/sync` that lets fewer nodes elect is written only when enough of its voters have all that the primary
    /// had flushed when it last changed `synchronous_standby_names`.
    pub settle: bool,
    /// A primary that took the key back demotes, if it finds when it reads the keys again that it lost it meanwhile.
    pub relook: bool,
    /// The fence refuses if the candidate's `synchronous_standby_names` isn't what the sealed `/sync` asks for.
    pub names: bool,
    /// A candidate stops streaming before its fence looks, so that nobody else's fence counts a node about to promote.
    pub detach: bool,
    /// A node that promoted after its seal had been superseded clones its data anew.
    pub reclone: bool,
}

impl Rules {
    /// The whole protocol.
    pub const ALL: Self = Self {
        rewrite: true,
        count: true,
        seal: true,
        retake: true,
        settle: true,
        relook: true,
        names: true,
        detach: true,
        reclone: true,
    };

    /// The protocol as it was before this model was made.
    pub const FIRST: Self = Self {
        settle: false,
        relook: false,
        names: false,
        detach: false,
        reclone: false,
        ..Self::ALL
    };

    /// A rule by its field's name.
    pub fn by_name(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "rewrite" => &mut self.rewrite,
            "count" => &mut self.count,
            "seal" => &mut self.seal,
            "retake" => &mut self.retake,
            "settle" => &mut self.settle,
            "relook" => &mut self.relook,
            "names" => &mut self.names,
            "detach" => &mut self.detach,
            "reclone" => &mut self.reclone,
            _ => return None,
        })
    }
}
