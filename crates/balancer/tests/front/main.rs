//! The balancer with real backends behind it, some of which die.

mod balancing;
mod clients;
mod failures;
mod framing;
mod isolation;
mod lifecycle;
mod routing;
mod support;
