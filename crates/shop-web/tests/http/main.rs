//! The frame and the extractors over HTTP, with sessions in the testbed's Redis. `scripts/testbed up` starts it.

mod bad_input;
mod consistency;
mod pages;
mod people;
mod support;
