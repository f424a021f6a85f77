//! The series, one file each.

mod city;
mod cloth;
mod collage;
mod currents;
mod dusk;
mod islands;
mod linocut;
mod ribbons;
mod screens;
mod silver;
mod stijl;
mod strata;

use super::Series;

/// All of them, in the order in which they take turns in the catalogue.
pub const SERIES: [&Series; 12] = [
    &dusk::SERIES,
    &currents::SERIES,
    &strata::SERIES,
    &stijl::SERIES,
    &silver::SERIES,
    &city::SERIES,
    &cloth::SERIES,
    &islands::SERIES,
    &ribbons::SERIES,
    &screens::SERIES,
    &collage::SERIES,
    &linocut::SERIES,
];
