//! The worker from end to end: the real broker between it and the real inventory, objects in a folder.
//! `eval "$(scripts/testbed env)"` first.

mod pipeline;
mod stage;
