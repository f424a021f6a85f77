//! What is measured, a module each.

pub(crate) mod capacity;
pub(crate) mod failures;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod spread;
pub(crate) mod work;

use anyhow::Result;

use crate::proxies::{ALL, Place, Running};

/// All proxies in front of the same upstreams, each of them idle unless it is its turn.
pub(crate) fn start_all(upstreams: usize, place: &Place) -> Result<Vec<Running>> {
    ALL.into_iter()
        .map(|proxy| Running::start(proxy, upstreams, place))
        .collect()
}
