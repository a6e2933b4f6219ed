//! Tests of the whole crate: against the official SDK, and client and server over real sockets.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod a2a;
mod batch;
mod charging;
mod codec;
mod daily;
mod extensions;
mod fuzz;
mod hostile;
mod journal;
mod mcp;
mod paying;
mod paywall;
mod policy;
mod reasons;
mod sdk;
mod serving;
mod spans;
mod support;
mod upfront;
mod version1;
