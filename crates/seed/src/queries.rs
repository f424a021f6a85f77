//! All SQL of the seed.

pub mod accounts;
pub mod categories;
pub mod copy;
pub mod products;
pub mod stock;
