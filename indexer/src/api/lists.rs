use alloy::primitives::{Address, B256, Bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Operation,
    input::{Limit, Page},
    problem::Problem,
    snapshot::Snapshot,
};
use crate::{
    read::{
        self, Agreement, AgreementFilter, AgreementStatus, ProposalFilter, Service, ServiceFilter, State, Subscription,
        SubscriptionFilter, SubscriptionStatus, WalletFilter,
    },
    schema,
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("/agreements", "agreements", "Agreements in escrow, by id", agreements),
        Operation::new("/subscriptions", "subscriptions", "Subscriptions, by id", subscriptions),
        Operation::new("/services", "services", "Services of the registry, by id", services),
        Operation::new("/wallets", "wallets", "Agent wallets, by address", wallets),
        Operation::new("/treasuries", "treasuries", "Treasuries, by address", treasuries),
        Operation::new("/treasuries/{address}/proposals", "proposals", "Orders and changes of a treasury, by id", proposals),
    ]
}

/// An object of a list, by its address or id.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Listed{T}")]
struct Listed<T> {
    /// Its address or id.
    #[schemars(with = "schema::Key")]
    id: Bytes,
    #[serde(flatten)]
    state: State<T>,
}

impl<T> From<read::Named<T>> for Listed<T> {
    fn from(named: read::Named<T>) -> Self {
        Self { id: Bytes::copy_from_slice(named.id()), state: named.state }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AgreementsOf {
    /// Paid by this account.
    #[schemars(with = "Option<schema::Address>")]
    buyer: Option<Address>,
    /// Paid to this account.
    #[schemars(with = "Option<schema::Address>")]
    seller: Option<Address>,
    /// This far.
    status: Option<AgreementStatus>,
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Hash>")]
    cursor: Option<B256>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn agreements(snapshot: Snapshot, f: AgreementsOf) -> Result<Page<Listed<Agreement>>, Problem> {
    let AgreementsOf { buyer, seller, status, at_block, cursor: after, limit } = f;
    let at_block = snapshot.at(at_block)?;
    let filter = AgreementFilter { buyer, seller, status, at_block, after, limit: limit.rows_to_read() };
    let rows = read::agreements(&mut *snapshot.conn().await, &filter).await?;
    Ok(Page::by_key(rows, limit, Listed::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionsOf {
    /// Paid by this account.
    #[schemars(with = "Option<schema::Address>")]
    payer: Option<Address>,
    /// Paid to this account.
    #[schemars(with = "Option<schema::Address>")]
    payee: Option<Address>,
    /// Of this status.
    status: Option<SubscriptionStatus>,
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Hash>")]
    cursor: Option<B256>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn subscriptions(snapshot: Snapshot, f: SubscriptionsOf) -> Result<Page<Listed<Subscription>>, Problem> {
    let SubscriptionsOf { payer, payee, status, at_block, cursor: after, limit } = f;
    let at_block = snapshot.at(at_block)?;
    let filter = SubscriptionFilter { payer, payee, status, at_block, after, limit: limit.rows_to_read() };
    let rows = read::subscriptions(&mut *snapshot.conn().await, &filter).await?;
    Ok(Page::by_key(rows, limit, Listed::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServicesOf {
    /// Of this owner.
    #[schemars(with = "Option<schema::Address>")]
    owner: Option<Address>,
    /// Paid to this account.
    #[schemars(with = "Option<schema::Address>")]
    payee: Option<Address>,
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Hash>")]
    cursor: Option<B256>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn services(snapshot: Snapshot, f: ServicesOf) -> Result<Page<Listed<Service>>, Problem> {
    let ServicesOf { owner, payee, at_block, cursor: after, limit } = f;
    let at_block = snapshot.at(at_block)?;
    let filter = ServiceFilter { registry: snapshot.chain.registry, owner, payee, at_block, after, limit: limit.rows_to_read() };
    let rows = read::services(&mut *snapshot.conn().await, &filter).await?;
    Ok(Page::by_key(rows, limit, Listed::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WalletsOf {
    /// Of this owner.
    #[schemars(with = "Option<schema::Address>")]
    owner: Option<Address>,
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Address>")]
    cursor: Option<Address>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn wallets(snapshot: Snapshot, f: WalletsOf) -> Result<Page<Listed<Value>>, Problem> {
    let WalletsOf { owner, at_block, cursor: after, limit } = f;
    let at_block = snapshot.at(at_block)?;
    let filter = WalletFilter { owner, at_block, after, limit: limit.rows_to_read() };
    let rows = read::wallets(&mut *snapshot.conn().await, &filter).await?;
    Ok(Page::by_key(rows, limit, Listed::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Treasuries {
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Address>")]
    cursor: Option<Address>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn treasuries(snapshot: Snapshot, f: Treasuries) -> Result<Page<Listed<Value>>, Problem> {
    let at_block = snapshot.at(f.at_block)?;
    let rows = read::treasuries(&mut *snapshot.conn().await, at_block, f.cursor, f.limit.rows_to_read()).await?;
    Ok(Page::by_key(rows, f.limit, Listed::from))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProposalsOf {
    /// Address of the treasury.
    #[schemars(with = "schema::Address")]
    address: Address,
    /// This far: proposed, executed, scheduled or cancelled.
    status: Option<String>,
    /// As of the end of this block: pages of one block fit together.
    at_block: Option<u64>,
    /// The `next_cursor` of the page before.
    #[schemars(with = "Option<schema::Hash>")]
    cursor: Option<B256>,
    /// Most rows of the page.
    #[serde(default)]
    limit: Limit,
}

async fn proposals(snapshot: Snapshot, f: ProposalsOf) -> Result<Page<Listed<Value>>, Problem> {
    let ProposalsOf { address: treasury, status, at_block, cursor: after, limit } = f;
    let at_block = snapshot.at(at_block)?;
    let filter = ProposalFilter { treasury, status, at_block, after, limit: limit.rows_to_read() };
    let rows = read::proposals(&mut *snapshot.conn().await, &filter).await?;
    Ok(Page::by_key(rows, limit, Listed::from))
}
