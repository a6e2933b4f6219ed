//! The executable, run as a person runs it, against the whole stack and the official x402 SDKs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod buying;
mod cli;
mod dev;
mod escrow;
mod interop;
mod killed;
mod lane;
mod market_role;
mod mcp;
mod mistakes;
mod onchain;
mod treasury;
mod wallet;
mod webhook;
