#![doc = include_str!("../README.md")]

mod agents;
pub mod chain;
#[cfg(feature = "client")]
mod client;
pub mod ledger;
mod listings;
mod page;
mod problem;
mod purchases;
mod transactions;

pub use agents::{Agent, AgentType, Challenge, ChallengeRequest, Register, Registered, UpdateAgent};
#[cfg(feature = "client")]
pub use client::{Bought, Client, ClientError, Content};
pub use listings::{Category, CreateListing, Discover, Listing, ListingFilter, ListingStatus, SortBy, UpdateListing};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageQuery};
pub use problem::{Code, Problem};
pub use purchases::{Purchase, PurchaseFilter, PurchaseStatus};
pub use transactions::{Deliver, EscrowTerms, Initiate, Transaction, TransactionStatus};

/// Names of headers of our own.
pub mod header {
    /// Milliseconds from the request's arrival to the answer's first byte.
    pub const DELIVERY_MS: &str = "x-delivery-ms";
    /// `hit` when the content was in memory, else `miss`.
    pub const CACHE: &str = "x-cache";
    /// Id of the purchase that the answer delivers.
    pub const PURCHASE_ID: &str = "x-purchase-id";
}
