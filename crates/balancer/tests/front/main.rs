//! The balancer with real backends behind it, some of which die.

mod clients;
mod failures;
mod framing;
mod gateway;
mod lifecycle;
mod reload;
mod routing;
mod support;
