//! The cluster against a real Postgres, with a network in between that can be broken.

mod cluster;
mod connections;
mod lost_hosts;
mod schema;
mod support;
