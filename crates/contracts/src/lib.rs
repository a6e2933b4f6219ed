#![doc = include_str!("../README.md")]

mod bindings;
#[cfg(feature = "build")]
pub mod build;
mod deploy;
mod deployment;
pub mod dev;
mod event;
mod reading;

pub use bindings::*;
pub use deploy::{DeployError, Deployed, Plan, Step, create2_address, deploy};
pub use deployment::{Deployment, DeploymentError};
pub use event::{Contract, ContractError, Event};
