//! The facilitator over HTTP, against a real chain with Circle's USDC and a real Postgres.

#![allow(clippy::unwrap_used)]

mod approval;
mod channels;
mod channels_interop;
mod deposits;
mod discovery;
mod escrow;
mod escrow_interop;
mod front;
mod harness;
mod interop;
mod lying;
mod permit2;
mod reasons;
mod recovery;
mod settle;
mod start;
mod transports;
mod upto;
mod verify;
mod wallet;
