//! The data tier under faults: what was acknowledged is kept, one primary at a time acknowledges, and reads go on.
//!
//! The tests share one cluster and break it, so they run one after another (`--test-threads=1`). Each begins with a
//! cluster that is whole, lets clients write and read all the time, and ends by comparing everything that was
//! acknowledged with what is there. No time decides a test; deadlines only end what hangs.

mod clock;
mod etcd;
mod primary;
mod reads;
mod sequences;
mod start;
mod storage;
