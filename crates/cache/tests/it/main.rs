//! What a service that keeps blobs in memory relies on.
#![allow(clippy::unwrap_used)]

mod ratio;
mod tiers;
mod worth;
