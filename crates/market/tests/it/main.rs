//! The marketplace over HTTP, with the real chain, Circle's USDC, facilitator, indexer and Postgres.

#![allow(clippy::unwrap_used)]

mod agents;
mod escrow;
mod express;
mod harness;
mod ledger;
mod listings;
mod relay;
mod wallet;
