//! The indexer against a real node and a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

mod api;
mod chains;
mod endpoints;
mod faults;
mod graphql;
mod harness;
mod liar;
mod mirror;
mod openapi;
mod ours;
mod paging;
mod payments;
mod rare;
mod reorg;
mod restart;
mod schema;
mod schemathesis;
mod start;
mod story;
mod stream;
mod upgrade;
mod verify;
mod webhooks;
