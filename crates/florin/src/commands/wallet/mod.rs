//! `florin wallet`: an agent's wallet.

mod config;

pub(super) use config::{Configuration, config_in_words};
