//! The data tier under faults: a cluster to break, clients that remember every answer, and a judge.
//!
//! It is a compose project of its own that holds etcd and Postgres and nothing else (`scripts/failover-stack`). The
//! clients go to it through `shop-db`, as the services do; beside them one writer per host pays no heed to who is
//! primary, and so finds out if two hosts acknowledge at once.

pub mod clients;
pub mod clock;
pub mod etcd;
pub mod ledger;
pub mod measure;
pub mod patroni;
pub mod scene;
pub mod storage;
pub mod tier;

pub use ledger::Verdict;
pub use scene::Scene;
pub use tier::{ETCD, Node, POSTGRES, Tier};
