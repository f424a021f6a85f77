//! The balancer with real backends behind it, some of which die.

mod clients;
mod failures;
mod framing;
mod lifecycle;
mod routing;
mod support;
