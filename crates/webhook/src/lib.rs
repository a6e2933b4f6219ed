#![doc = include_str!("../README.md")]

mod address;
mod secret;
mod sender;

pub use address::{Guard, Refused};
pub use rand::rand_core::OsError;
pub use secret::Secret;
pub use sender::{Message, Outcome, Sender, wait};
