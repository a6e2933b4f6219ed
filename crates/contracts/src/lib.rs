#![doc = include_str!("../README.md")]

mod bindings;
#[cfg(feature = "build")]
pub mod build;
mod deploy;
mod deployment;
pub mod dev;
mod event;
mod plan;
mod reading;
mod refusal;
pub mod signing;

pub use bindings::*;
pub use deploy::{DeployError, Deployed, create2_address, deploy};
pub use deployment::{Deployment, DeploymentError};
pub use event::{Contract, Event};
pub use plan::{Plan, Step};
pub use refusal::ContractError;
