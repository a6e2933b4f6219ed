#![doc = include_str!("../README.md")]

mod bindings;
#[cfg(feature = "build")]
pub mod build;
mod deploy;
mod deployment;
pub mod dev;

pub use bindings::*;
pub use deploy::{DeployError, Deployed, Plan, create2_address, deploy};
pub use deployment::{Deployment, DeploymentError};
