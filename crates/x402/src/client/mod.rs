//! Feature `client`: pay for what answers 402, within a policy that is checked before anything is signed.

mod daily;
mod error;
mod exchange;
mod offer;
mod outstanding;
mod payer;
mod policy;
mod signing;

pub use daily::{BudgetError, DailyBudget};
pub use error::PayError;
pub use exchange::{Answer, Client, Paid};
pub use payer::{KeyPayer, Payer, PayerError, SignedAuthorization, SignedPermit2, TransferRequest};
pub use policy::{Policy, Refusal};
