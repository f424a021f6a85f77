//! Tests against the real engines of the testbed: `eval "$(scripts/testbed env)"` first.

mod catalogue;
mod http;
mod photos;
mod readiness;
mod reservations;
mod shop;
mod uploads;
