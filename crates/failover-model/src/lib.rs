pub mod action;
pub mod model;
pub mod quorum;
pub mod rules;
pub mod state;
pub mod possible;
mod step;
mod symmetry;
pub mod wal;

pub use action::Action;
pub use model::{Bounds, CLEAN, FailoverModel, KEPT, ONE};
pub use rules::Rules;
