//! The balancer with real backends behind it, some of which die.

mod answers;
mod balancing;
mod clients;
mod failures;
mod floods;
mod framing;
mod fuzz;
mod gateway;
mod generator;
mod http2;
mod isolation;
mod lifecycle;
mod parking;
mod protocols;
mod recorder;
mod reference;
mod reload;
mod routing;
mod smuggling;
mod support;
mod tls;
mod websocket;
