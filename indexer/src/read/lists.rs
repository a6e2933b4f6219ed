use alloy::primitives::{Address, B256};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    Agreement, AgreementStatus, Service, State, Subscription, SubscriptionStatus,
    objects::{COLUMNS, time_of},
    page::Condition,
};
use crate::store::int;

/// Keys that a page looks at, at most, when it may leave some of them out.
pub const KEYS_LOOKED_AT_MAX: u32 = 1_000;

/// A page of objects.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// Those found, by key.
    pub rows: Vec<Named<T>>,
    /// The last key looked at, when [`KEYS_LOOKED_AT_MAX`] of them did not fill the page: more may come after it.
    pub looked_to: Option<Vec<u8>>,
}

/// An object with the bytes that name it: its address or id.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T> {
    /// Address or id; of a proposal the treasury's address and the id, of a service the registry's and the id.
    pub key: Vec<u8>,
    /// How it stands.
    pub state: State<T>,
}

impl<T> Named<T> {
    /// The address, or the id without the address of the contract before it.
    pub fn id(&self) -> &[u8] {
        id(&self.key)
    }
}

/// The id in a key.
pub fn id(key: &[u8]) -> &[u8] {
    const ADDRESS_BYTES: usize = 20;
    const WITHIN_CONTRACT_BYTES: usize = 52;
    if key.len() == WITHIN_CONTRACT_BYTES { &key[ADDRESS_BYTES..] } else { key }
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
pub async fn agreements(conn: &mut PgConnection, filter: &AgreementFilter) -> Result<Found<Agreement>, sqlx::Error> {
    let list = List {
        table: "agreements",
        parties: [party("buyer", filter.buyer.as_ref()), party("seller", filter.seller.as_ref())].into_iter().flatten().collect(),
        status: filter.status.map(|status| Condition::Text("status", status.as_str())),
        at_block: filter.at_block,
        after: filter.after.as_ref().map(|key| key.as_slice()),
        before: None,
        limit: filter.limit,
    };
    list.read(conn).await
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
pub async fn subscriptions(conn: &mut PgConnection, filter: &SubscriptionFilter) -> Result<Found<Subscription>, sqlx::Error> {
    let list = List {
        table: "subscriptions",
        parties: [party("payer", filter.payer.as_ref()), party("payee", filter.payee.as_ref())].into_iter().flatten().collect(),
        status: filter.status.map(|status| Condition::Text("status", status.as_str())),
        at_block: filter.at_block,
        after: filter.after.as_ref().map(|key| key.as_slice()),
        before: None,
        limit: filter.limit,
    };
    list.read(conn).await
}

/// Which services to read. Every condition given must hold.
#[derive(Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Of this registry.
    pub registry: Address,
    /// Of this owner.
    pub owner: Option<Address>,
    /// Paid to this account as the service's last event said. Parties that were announced are shown from their time on, and found by from the
    /// next event on.
    pub payee: Option<Address>,
    /// As of the end of this block; without it, now.
    pub at_block: Option<u64>,
    /// After the service of this id.
    pub after: Option<B256>,
    /// Most rows.
    pub limit: u32,
}

/// Reads services of a registry as they stand now, by id.
///
/// # Errors
/// When the database fails.
pub async fn services(conn: &mut PgConnection, filter: &ServiceFilter) -> Result<Found<Service>, sqlx::Error> {
    let after = [filter.registry.as_slice(), filter.after.unwrap_or_default().as_slice()].concat();
    // Behind the last key that an id can make.
    let end = [filter.registry.as_slice(), &[u8::MAX; B256::len_bytes() + 1]].concat();
    let list = List {
        table: "services",
        parties: [party("owner", filter.owner.as_ref()), party("payee", filter.payee.as_ref())].into_iter().flatten().collect(),
        status: None,
        at_block: filter.at_block,
        after: Some(&after),
        before: Some(&end),
        limit: filter.limit,
    };
    let mut found: Found<Service> = list.read(&mut *conn).await?;
    let time = time_of(conn, filter.at_block).await?;
    found.rows.iter_mut().for_each(|row| row.state.state.advance(time));
    Ok(found)
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
pub async fn wallets(conn: &mut PgConnection, filter: &WalletFilter) -> Result<Found<Value>, sqlx::Error> {
    let list = List {
        table: "wallets",
        parties: party("owner", filter.owner.as_ref()).into_iter().collect(),
        status: None,
        at_block: filter.at_block,
        after: filter.after.as_ref().map(|key| key.as_slice()),
        before: None,
        limit: filter.limit,
    };
    list.read(conn).await
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
) -> Result<Found<Value>, sqlx::Error> {
    let after = after.as_ref().map(|address| address.as_slice());
    List { table: "treasuries", parties: Vec::new(), status: None, at_block, after, before: None, limit }.read(conn).await
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
pub async fn proposals(conn: &mut PgConnection, filter: &ProposalFilter) -> Result<Found<Value>, sqlx::Error> {
    let after = filter.after.map(|id| [filter.treasury.as_slice(), id.as_slice()].concat());
    let list = List {
        table: "proposals",
        parties: vec![Condition::Bytes("treasury", filter.treasury.as_slice())],
        status: filter.status.as_deref().map(|status| Condition::Text("status", status)),
        at_block: filter.at_block,
        after: after.as_deref(),
        before: None,
        limit: filter.limit,
    };
    list.read(conn).await
}

fn party<'a>(column: &'static str, account: Option<&'a Address>) -> Option<Condition<'a>> {
    account.map(|account| Condition::Bytes(column, account.as_slice()))
}

/// A page of a table of versions.
struct List<'a> {
    table: &'static str,
    /// Who must be party; there are indexes for each of them, then the key.
    parties: Vec<Condition<'a>>,
    /// With an index for what stands now, by itself and after each party.
    status: Option<Condition<'a>>,
    at_block: Option<u64>,
    after: Option<&'a [u8]>,
    before: Option<&'a [u8]>,
    limit: u32,
}

impl List<'_> {
    async fn read<T: DeserializeOwned + 'static>(self, conn: &mut PgConnection) -> Result<Found<T>, sqlx::Error> {
        // Only what stands now and is found by an index is sure to be wanted.
        let exact = self.at_block.is_none() && self.parties.len() < 2;
        let steps = if exact { self.limit } else { self.limit.max(KEYS_LOOKED_AT_MAX) };
        let mut query = self.keys(steps);
        query.push(format!(
            "SELECT {COLUMNS} FROM keys, LATERAL (SELECT * FROM chain.{} AS o WHERE o.key = keys.found",
            self.table
        ));
        match self.at_block {
            Some(block) => query.push(" AND from_block <= ").push_bind(int(block)).push(" ORDER BY from_block DESC LIMIT 1"),
            // One at most; said so, Postgres takes them key by key and turns nothing round.
            None => query.push(" AND until_block IS NULL LIMIT 1"),
        };
        query.push(") AS v WHERE TRUE");
        self.parties.iter().chain(&self.status).for_each(|condition| condition.push(&mut query, "v"));
        // In their order as they are: WITH RECURSIVE hands out a key when it has found it, and looks for no further one than the LIMIT takes.
        query.push(" LIMIT ").push_bind(i64::from(self.limit));
        let rows: Vec<PgRow> = query.build().fetch_all(&mut *conn).await?;
        let rows: Vec<Named<T>> = rows.iter().map(named).collect::<Result<_, _>>()?;
        let mut looked_to = None;
        if !exact && rows.len() < usize::try_from(self.limit).unwrap_or(usize::MAX) {
            let mut last = self.keys(steps);
            last.push("SELECT found FROM keys WHERE step = ").push_bind(i64::from(steps));
            looked_to = last.build_query_scalar().fetch_optional(conn).await?;
        }
        Ok(Found { rows, looked_to })
    }

    /// Keys that may be wanted: from one to the next by an index, however many versions each has.
    fn keys(&self, steps: u32) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("WITH RECURSIVE keys (found, step) AS ((");
        self.next(&mut query, "key, 1::bigint");
        if let Some(after) = self.after {
            query.push(" AND s.key > ").push_bind(after);
        }
        query.push(" ORDER BY key LIMIT 1) UNION ALL SELECT next.key, step + 1 FROM keys, LATERAL (");
        self.next(&mut query, "key");
        query.push(" AND s.key > keys.found ORDER BY key LIMIT 1) AS next WHERE step < ").push_bind(i64::from(steps)).push(") ");
        query
    }

    fn next(&self, query: &mut QueryBuilder<Postgres>, columns: &str) {
        query.push(format!("SELECT {columns} FROM chain.{} AS s WHERE TRUE", self.table));
        self.parties.iter().take(1).for_each(|party| party.push(query, "s"));
        if self.at_block.is_none() {
            query.push(" AND s.until_block IS NULL");
            self.status.iter().for_each(|status| status.push(query, "s"));
        }
        if let Some(before) = self.before {
            query.push(" AND s.key < ").push_bind(before.to_vec());
        }
    }
}

fn named<T: DeserializeOwned + 'static>(row: &PgRow) -> Result<Named<T>, sqlx::Error> {
    Ok(Named { key: row.try_get("key")?, state: State::read(row)? })
}
