//! What is signed in Rust is what the contracts hash and accept.

mod approvals;
mod chain;
mod messages;
mod vectors;
