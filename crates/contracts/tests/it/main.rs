//! The Solidity side as Rust sees it, on a real chain.
#![allow(clippy::unwrap_used)]

mod chain;
mod reading;
