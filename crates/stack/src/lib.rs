#![doc = include_str!("../README.md")]

mod anvil;
mod error;
mod guarded;
mod postgres;
mod tools;

pub use anvil::{Anvil, AnvilOptions, CHAIN_ID};
pub use error::Error;
pub use postgres::{Database, Postgres};
