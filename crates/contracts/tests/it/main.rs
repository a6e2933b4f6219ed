//! The Solidity side as Rust sees it, on a real chain.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "build")]
mod building;
mod chain;
mod reading;
mod signing;
