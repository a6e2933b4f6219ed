#![doc = include_str!("../README.md")]

mod agents;
mod audit;
mod catalog;
pub mod chain;
#[cfg(feature = "client")]
mod client;
mod consents;
mod creators;
mod dashboard;
mod decisions;
mod demand;
mod discovery;
mod feed;
mod fraud;
mod health;
mod identity;
pub mod ledger;
mod listings;
mod matching;
mod mcp;
mod moment;
mod page;
mod problem;
pub mod proofs;
mod purchases;
mod routing;
mod schema;
mod standing;
mod transactions;
mod webhooks;

pub use agents::{
    Agent, AgentFilter, AgentStatus, AgentType, Availability, Challenge, ChallengeRequest, Register, Registered, UpdateAgent,
};
pub use audit::{ActorKind, AuditEntry, AuditEvent, AuditFilter, AuditProof, AuditVerified, Severity};
pub use catalog::{
    CatalogEntry, CatalogFilter, CatalogNews, CatalogNewsQuery, CatalogPopulated, CatalogSubscription, CatalogWanted,
    CreateCatalogEntry, SubscriptionNews, UpdateCatalogEntry,
};
#[cfg(feature = "client")]
pub use client::{Bought, Client, ClientError, Content, Feed, ToppedUp};
pub use consents::{Consent, ConsentKind, GiveConsent};
pub use creators::{
    ChangePassword, Creator, CreatorWallet, Dashboard, DeleteCreator, GrantRole, Login, PayoutMethod, ProveWallet, Refresh,
    RefreshToken, RegisterCreator, Role, Session, SessionInfo, UpdateCreator,
};
pub use dashboard::{AdminDashboard, BooksFound};
pub use decisions::{Decision, DecisionFilter};
pub use demand::{
    DemandForMe, DemandLevel, GapsQuery, Opportunity, OpportunityFilter, OpportunityStatus, PriceQuestion, PriceSuggestion,
    Signal, Trend, Trending, TrendingQuery,
};
pub use discovery::{CategoryCount, Discovered, Facets, PriceBand, SuggestQuery, Suggestions, TagCount};
pub use feed::{EventType, FeedEvent, FeedQuery, FeedTicket, Topic, Visibility};
pub use fraud::{ClearFinding, Finding, FindingFilter, FindingStatus, FraudAction, FraudRule, RuleAction};
pub use health::{CacheTier, ContentHealth, Health};
pub use identity::{AccessToken, ApiKey, CreateApiKey, CreatedApiKey, Scope, TokenRequest};
pub use listings::{
    BulkList, BulkListed, BulkResult, Category, CreateListing, Discover, JudgeListing, Listing, ListingFilter, ListingStatus,
    ListingVersion, SortBy, UpdateListing,
};
pub use matching::{AutoMatch, AutoMatched, AutoPurchase, Match, MatchTerms};
pub use mcp::{McpHealth, McpMessageQuery};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, PAGED_MAX, Page, PageQuery};
pub use problem::{Code, Problem};
pub use purchases::{Purchase, PurchaseFilter, PurchaseStatus};
pub use routing::{
    AgentRoute, AgentRouteRequest, AgentsRouted, Region, Route, RouteFact, RouteRequest, RouteTerm, Routed, Strategy,
    StrategyOffer, StrategyTerm,
};
pub use standing::{
    CategorySales, DaysQuery, Earnings, EarningsDay, Helpfulness, Leader, LeaderQuery, MarketDay, MarketDaysQuery, Profile,
    RegisteredService, Reputation, ReputationFacts, ReputationTerms, SalesDay, Stats, StatsDay,
};
pub use transactions::{
    Award, BondStatus, DefaultOutcome, Deliver, EscrowAgreement, EscrowCall, EscrowTerms, Evidence, GiveBack, Initiate,
    PaymentMethod, SubmitEvidence, Transaction, TransactionActor, TransactionCase, TransactionChange, TransactionCheck,
    TransactionDifference, TransactionFilter, TransactionRole, TransactionStatus, VerifyDelivery,
};
pub use webhooks::{
    DeliveryFilter, DeliveryState, OpenClawStatus, RegisterWebhook, ReplayWebhook, Replayed, Webhook, WebhookDelivery,
    WebhookSecret,
};

/// Names of headers of our own.
pub mod header {
    /// Milliseconds from the request's arrival to the answer's first byte.
    pub const DELIVERY_MS: &str = "x-delivery-ms";
    /// `hit` when the content was in memory, else `miss`.
    pub const CACHE: &str = "x-cache";
    /// Names a request that moves money: with the same key it has its effect once.
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// `true` when the answer is to a request that had its effect before.
    pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
    /// What the buyer has left in the ledger.
    pub const BALANCE: &str = "x-balance";
    /// Id of the purchase that the answer delivers.
    pub const PURCHASE_ID: &str = "x-purchase-id";
}
