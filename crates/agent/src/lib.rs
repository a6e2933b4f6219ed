#![doc = include_str!("../README.md")]

pub mod lane;
mod payer;

pub use payer::{WalletError, WalletPayer};
