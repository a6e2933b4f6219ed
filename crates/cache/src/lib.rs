//! Keeps in memory what is worth most per byte, within a budget that holds to the byte.
//!
//! [`Tiers`] is what a service uses: a hot tier by worth, a warm one by time, one fetch per key however many ask, and failures remembered for
//! a moment. [`Hot`] and [`Room`] are its parts.

mod counts;
mod hot;
mod room;
mod tiers;

pub use hot::Hot;
pub use room::{Room, Taken};
pub use tiers::{Found, Key, Limits, Tier, TierUse, Tiers};
