#![doc = include_str!("../README.md")]

mod agents;
mod auth;
mod config;
mod content;
mod db;
mod discover;
mod error;
mod express;
mod input;
pub mod ledger;
mod listings;
mod problem;
mod purchases;
mod router;
mod service;
mod transactions;
mod wallet;

pub use config::Config;
pub use db::{migrate, pool};
pub use error::Error;
pub use service::serve;
