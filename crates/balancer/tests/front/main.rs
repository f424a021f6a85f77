//! The balancer with real backends behind it, some of which die.

mod clients;
mod failures;
mod framing;
mod fuzz;
mod generator;
mod lifecycle;
mod recorder;
mod reference;
mod routing;
mod support;
