#![doc = include_str!("../README.md")]

mod payer;

pub use payer::{WalletError, WalletPayer};
