//! The marketplace over HTTP, with the real chain, Circle's USDC, facilitator, indexer and Postgres.

#![allow(clippy::unwrap_used)]

mod access;
mod agents;
mod content;
mod escrow;
mod express;
mod harness;
mod identity;
mod ledger;
mod listings;
mod relay;
mod schema;
mod wallet;
