//! All SQL of the audit: reads only.

pub(crate) mod orders;
pub(crate) mod payments;
pub(crate) mod reservations;
pub(crate) mod stock;
