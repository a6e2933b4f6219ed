//! End-to-end scenarios that read like scripts. Each has a chain and a database of its own.

#![allow(clippy::unwrap_used)]

mod channels;
mod reservations;
mod sign_in;
mod story;
