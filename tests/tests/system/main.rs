//! System tests: the whole stack, as its users see it.
//!
//! They share one stack and some of them break it, so they run one after another
//! (`--test-threads=1`); each one that kills something puts it back and waits until the stack is whole.

mod backups;
mod bad_input;
mod browse;
mod browser;
mod browser_failover;
mod chaos_run;
mod checkout;
mod faults;
mod photos;
mod topology;
mod upstreams;
