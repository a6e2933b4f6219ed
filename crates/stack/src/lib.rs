#![doc = include_str!("../README.md")]

mod accounts;
mod anvil;
mod chain;
mod cluster;
mod error;
mod guarded;
mod postgres;
mod redis;
mod s3;
mod service;
mod shared;
mod stack;
pub mod story;
mod tools;

pub use accounts::Account;
pub use anvil::{Anvil, AnvilOptions, CHAIN_ID};
pub use chain::{Chain, USDC_PER_ACCOUNT};
pub use error::Error;
pub use postgres::{Database, Postgres};
pub use redis::Redis;
pub use s3::S3;
pub use stack::{Options, Stack};
