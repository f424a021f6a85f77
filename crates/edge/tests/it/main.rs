//! The whole edge on port 0, in front of a real origin.

mod caching;
mod delivery;
mod failures;
mod keeping;
mod world;
