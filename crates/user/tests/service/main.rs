//! The service against real databases, Redis, RabbitMQ and inventory: see `scripts/testbed`.

mod accounts;
mod audit;
mod checkout_faults;
mod checkout_orders;
mod checkout_requests;
mod pages;
mod shop;
