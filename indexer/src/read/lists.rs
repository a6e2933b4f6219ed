use alloy::primitives::{Address, B256};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{Agreement, AgreementStatus, Service, State, Subscription, SubscriptionStatus, objects};
use crate::store::int;

/// An object with the bytes that name it: its address or id.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T> {
    /// Address or id; of a proposal, the treasury's address and the id.
    pub key: Vec<u8>,
    /// How it stands.
    pub state: State<T>,
}

impl<T> Named<T> {
    /// The address, or the id: of a proposal without the treasury's address before it.
    pub fn id(&self) -> &[u8] {
        const ADDRESS_BYTES: usize = 20;
        const PROPOSAL_BYTES: usize = 52;
        if self.key.len() == PROPOSAL_BYTES { &self.key[ADDRESS_BYTES..] } else { &self.key }
    }
}

/// Which agreements to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct AgreementFilter {
    /// Paid by this account.
    pub buyer: Option<Address>,
    /// Paid to this account.
    pub seller: Option<Address>,
    /// This far.
    pub status: Option<AgreementStatus>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the agreement of this id.
    pub after: Option<B256>,
    /// Most rows.
    pub limit: u32,
}

/// Reads agreements as they stand now, by id.
///
/// # Errors
/// When the database fails.
pub async fn agreements(conn: &mut PgConnection, filter: &AgreementFilter) -> Result<Vec<Named<Agreement>>, sqlx::Error> {
    let mut query = objects::select("agreements");
    at(&mut query, filter.at_block);
    if let Some(buyer) = &filter.buyer {
        query.push(" AND buyer = ").push_bind(buyer.as_slice());
    }
    if let Some(seller) = &filter.seller {
        query.push(" AND seller = ").push_bind(seller.as_slice());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    page(conn, query, filter.after.as_ref().map(|id| id.as_slice()), filter.limit).await
}

/// Which subscriptions to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionFilter {
    /// Paid by this account.
    pub payer: Option<Address>,
    /// Paid to this account.
    pub payee: Option<Address>,
    /// Of this status.
    pub status: Option<SubscriptionStatus>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the subscription of this id.
    pub after: Option<B256>,
    /// Most rows.
    pub limit: u32,
}

/// Reads subscriptions as they stand now, by id.
///
/// # Errors
/// When the database fails.
pub async fn subscriptions(
    conn: &mut PgConnection,
    filter: &SubscriptionFilter,
) -> Result<Vec<Named<Subscription>>, sqlx::Error> {
    let mut query = objects::select("subscriptions");
    at(&mut query, filter.at_block);
    if let Some(payer) = &filter.payer {
        query.push(" AND payer = ").push_bind(payer.as_slice());
    }
    if let Some(payee) = &filter.payee {
        query.push(" AND payee = ").push_bind(payee.as_slice());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    page(conn, query, filter.after.as_ref().map(|id| id.as_slice()), filter.limit).await
}

/// Which services to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Of this owner.
    pub owner: Option<Address>,
    /// Paid to this account.
    pub payee: Option<Address>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the service of this id.
    pub after: Option<B256>,
    /// Most rows.
    pub limit: u32,
}

/// Reads services as they stand now, by id.
///
/// # Errors
/// When the database fails.
pub async fn services(conn: &mut PgConnection, filter: &ServiceFilter) -> Result<Vec<Named<Service>>, sqlx::Error> {
    let mut query = objects::select("services");
    at(&mut query, filter.at_block);
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.as_slice());
    }
    if let Some(payee) = &filter.payee {
        query.push(" AND payee = ").push_bind(payee.as_slice());
    }
    page(conn, query, filter.after.as_ref().map(|id| id.as_slice()), filter.limit).await
}

/// Which agent wallets to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct WalletFilter {
    /// Of this owner.
    pub owner: Option<Address>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the wallet of this address.
    pub after: Option<Address>,
    /// Most rows.
    pub limit: u32,
}

/// Reads agent wallets, by address.
///
/// # Errors
/// When the database fails.
pub async fn wallets(conn: &mut PgConnection, filter: &WalletFilter) -> Result<Vec<Named<Value>>, sqlx::Error> {
    let mut query = objects::select("wallets");
    at(&mut query, filter.at_block);
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.as_slice());
    }
    page(conn, query, filter.after.as_ref().map(|address| address.as_slice()), filter.limit).await
}

/// Reads treasuries as of the end of a block or now, by address.
///
/// # Errors
/// When the database fails.
pub async fn treasuries(
    conn: &mut PgConnection,
    at_block: Option<u64>,
    after: Option<Address>,
    limit: u32,
) -> Result<Vec<Named<Value>>, sqlx::Error> {
    let mut query = objects::select("treasuries");
    at(&mut query, at_block);
    page(conn, query, after.as_ref().map(|address| address.as_slice()), limit).await
}

/// Which orders and changes to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct ProposalFilter {
    /// Of this treasury.
    pub treasury: Address,
    /// This far.
    pub status: Option<String>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the one of this id.
    pub after: Option<B256>,
    /// Most rows.
    pub limit: u32,
}

/// Reads orders and changes of a treasury, by id.
///
/// # Errors
/// When the database fails.
pub async fn proposals(conn: &mut PgConnection, filter: &ProposalFilter) -> Result<Vec<Named<Value>>, sqlx::Error> {
    let after = filter.after.map(|id| [filter.treasury.as_slice(), id.as_slice()].concat());
    let mut query = objects::select("proposals");
    at(&mut query, filter.at_block);
    query.push(" AND treasury = ").push_bind(filter.treasury.as_slice());
    if let Some(status) = &filter.status {
        query.push(" AND status = ").push_bind(status);
    }
    page(conn, query, after.as_deref(), filter.limit).await
}

/// The versions that hold at the end of a block, or now.
fn at(query: &mut QueryBuilder<Postgres>, block: Option<u64>) {
    match block {
        Some(block) => {
            query.push(" WHERE from_block <= ").push_bind(int(block));
            query.push(" AND (until_block IS NULL OR until_block > ").push_bind(int(block)).push(")");
        }
        None => {
            query.push(" WHERE until_block IS NULL");
        }
    }
}

async fn page<T: DeserializeOwned + 'static>(
    conn: &mut PgConnection,
    mut query: QueryBuilder<Postgres>,
    after: Option<&[u8]>,
    limit: u32,
) -> Result<Vec<Named<T>>, sqlx::Error> {
    if let Some(after) = after {
        query.push(" AND key > ").push_bind(after);
    }
    query.push(" ORDER BY key LIMIT ").push_bind(i64::from(limit));
    let rows: Vec<PgRow> = query.build().fetch_all(conn).await?;
    rows.iter().map(named).collect()
}

fn named<T: DeserializeOwned + 'static>(row: &PgRow) -> Result<Named<T>, sqlx::Error> {
    Ok(Named { key: row.try_get("key")?, state: State::read(row)? })
}
