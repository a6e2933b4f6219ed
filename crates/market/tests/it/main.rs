//! The marketplace over HTTP, with the real chain, Circle's USDC, facilitator, indexer and Postgres.

#![allow(clippy::unwrap_used)]

mod about;
mod access;
mod agents;
mod anchor;
mod audit;
mod catalog;
mod content;
mod dashboard;
mod demand;
mod discover;
mod endpoints;
mod escrow;
mod express;
mod feed;
mod fire;
mod fraud;
mod front;
mod funds;
mod harness;
mod identity;
mod instances;
mod ledger;
mod listings;
mod lists;
mod matching;
mod matrix;
mod mcp;
mod mcp_events;
mod meaning;
mod object_store;
mod payout;
mod personal;
mod proofs;
mod redemptions;
mod relay;
mod routing;
mod schema;
mod schemathesis;
mod standing;
mod transactions;
mod two;
mod wallet;
mod webhooks;
