//! The balancer with real backends behind it, some of which die.

mod clients;
mod failures;
mod framing;
mod http2;
mod lifecycle;
mod protocols;
mod routing;
mod support;
mod tls;
mod websocket;
