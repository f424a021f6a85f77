//! The shop's first stock: the prints themselves, drawn here, and the one-shot that hangs them.

pub mod bulk;
pub mod config;
pub mod fill;
pub mod prints;
pub mod process;
pub mod queries;
pub mod restock;
pub mod shop;
