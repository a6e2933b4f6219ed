use money::Usdc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::MarketDay;

/// How the market stands, for whoever runs it: figures that are kept anyway. What grows without end is counted up to 10,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminDashboard {
    /// Active agents, counted within the last minute, as the listings.
    pub agents: u64,
    /// Creators who have not left.
    pub creators: u64,
    /// Listings for sale.
    pub listings: u64,
    /// What was sold today, in UTC, as far as it was folded into the figures.
    pub today: MarketDay,
    /// Purchases in steps from the ledger that an arbiter has to decide.
    pub disputes: u64,
    /// Purchases in steps that are not what the ledger or the chain says: must be 0.
    pub transactions_differing: u64,
    /// Findings of fraud that nobody has cleared.
    pub findings_open: u64,
    /// Those of them that hold withdrawals or refuse payments.
    pub findings_acting: u64,
    /// Withdrawals that wait for approval.
    pub withdrawals_awaiting: u64,
    /// What they come to.
    #[schemars(with = "crate::schema::Decimal")]
    pub withdrawals_awaiting_usdc: Usdc,
    /// Since when the first of them waits.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub withdrawals_awaiting_since: Option<OffsetDateTime>,
    /// Redemptions to be decided or handed over.
    pub redemptions_open: u64,
    /// USDC that came from nobody known, so often.
    pub deposits_unmatched: u64,
    /// Transfers of the ledger that are not sealed yet.
    pub transfers_unsealed: u64,
    /// Events of the audit log that are not sealed yet.
    pub events_unsealed: u64,
    /// Seals of the ledger that are in no final anchor yet; absent at an instance that does not anchor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seals_unanchored: Option<u64>,
    /// What the last look at the books found.
    pub books: BooksFound,
}

/// What the last look at the books found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BooksFound {
    /// USDC that the ledger owes.
    #[schemars(with = "crate::schema::Decimal")]
    pub owed: Usdc,
    /// USDC that the custody account has for it.
    #[schemars(with = "crate::schema::Decimal")]
    pub covered: Usdc,
    /// What it lacks: must be 0.
    #[schemars(with = "crate::schema::Decimal")]
    pub missing: Usdc,
    /// What is wrong, in words: withdrawals have stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violation: Option<String>,
    /// When that was found; absent where there is no custody account to look at.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    pub checked_at: Option<OffsetDateTime>,
}
