#![doc = include_str!("../README.md")]

pub mod action;
mod display;
pub mod model;
pub mod possible;
pub mod quorum;
pub mod rules;
pub mod state;
mod step;
mod symmetry;
pub mod wal;

pub use action::Action;
pub use model::{Bounds, CLEAN, FAILED_OVER, FailoverModel, KEPT, ONE, POSSIBLE, SUCCEEDS};
pub use rules::Rules;
