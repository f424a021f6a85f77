//! The service against real databases, Redis, RabbitMQ and inventory: see `scripts/testbed`.

mod accounts;
mod audit;
mod checkout_faults;
mod checkout_orders;
mod checkout_requests;
mod lost_hosts;
mod pages;
mod readiness;
mod shards;
mod shop;
