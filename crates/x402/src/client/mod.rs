//! Feature `client`: pay for what answers 402, within a policy that is checked before anything is signed.

mod approval;
mod budget;
#[cfg(any(feature = "a2a", feature = "mcp"))]
pub(crate) mod call;
mod channels;
mod daily;
mod error;
mod exchange;
mod hooks;
mod hot_key;
mod journal;
mod lists;
#[cfg(feature = "middleware")]
mod middleware;
pub(crate) mod offer;
pub(crate) mod outstanding;
mod payer;
mod policy;
mod purse;
mod reclaim;
mod refusal;
mod sign_in;
mod signing;

pub use approval::Proposal;
pub use budget::{Budget, Period};
#[cfg(any(feature = "a2a", feature = "mcp"))]
pub use call::Called;
pub use channels::{ChannelError, ChannelRecord, Channels, DepositRequest, VoucherUnderWay};
pub use daily::{BudgetError, DailyBudget};
pub use error::PayError;
pub use exchange::{Answer, Client, Paid};
pub use hooks::Hooks;
pub use hot_key::{HotKey, Libsecp256k1, hot_key};
pub use journal::{Journal, JournalError, Receipt};
pub use lists::HostPattern;
pub use payer::{
    Allowance, HoldRequest, KeyPayer, Payer, PayerError, SignedAuthorization, SignedPermit2, Sponsored, TransferRequest,
};
pub use policy::Policy;
pub use purse::Purse;
pub use reclaim::ReclaimError;
pub use refusal::Refusal;
