//! The stack's promises, on real processes.
#![allow(clippy::unwrap_used)]

mod killed;
mod processes;
mod whole;
