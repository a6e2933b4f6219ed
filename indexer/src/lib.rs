#![doc = include_str!("../README.md")]

mod api;
mod block;
mod chains;
mod config;
mod db;
mod decode;
mod deployment;
mod derive;
mod error;
mod feed;
mod metrics;
mod node;
pub mod read;
mod schema;
mod service;
mod store;
mod sync;
mod verify;
mod watch;
mod webhooks;

pub use config::{Config, Transfers};
pub use db::migrate;
pub use error::Error;
pub use node::Error as NodeError;
pub use service::serve;
pub use sync::{Difference, Report};
pub use verify::verify;
