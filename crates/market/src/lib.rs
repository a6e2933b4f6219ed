#![doc = include_str!("../README.md")]

mod access;
mod agents;
mod auth;
mod config;
mod content;
mod creators;
mod db;
mod decisions;
pub mod demand;
mod discover;
mod error;
mod etag;
mod express;
mod funds;
mod health;
mod input;
pub mod ledger;
mod limits;
mod listings;
mod matching;
mod moment;
mod openapi;
mod operation;
mod problem;
mod purchases;
mod router;
mod service;
mod shortcut;
mod trace;
mod transactions;
mod wallet;

pub use config::Config;
pub use content::ContentAt;
pub use db::{migrate, pool};
pub use error::Error;
pub use service::{grant, replace_custody, serve};
