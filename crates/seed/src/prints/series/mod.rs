//! The series, one file each.

mod cloth;
mod currents;
mod dusk;
mod islands;
mod silver;
mod stijl;
mod strata;

use super::Series;

/// All of them, in the order in which they take turns in the catalogue.
pub const SERIES: [&Series; 7] = [
    &currents::SERIES,
    &dusk::SERIES,
    &stijl::SERIES,
    &strata::SERIES,
    &silver::SERIES,
    &cloth::SERIES,
    &islands::SERIES,
];
