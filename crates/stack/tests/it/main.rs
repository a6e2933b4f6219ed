//! The stack's promises, on real processes.
#![allow(clippy::unwrap_used)]
#![allow(clippy::unwrap_used)]

mod processes;
mod whole;
