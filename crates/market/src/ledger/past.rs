//! What orders are judged by, as the database has it while the end of the ledger is locked.

use std::collections::{HashMap, HashSet};

use alloy::primitives::B256;
use api::ledger::{Amount, Transfer};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{AccountId, Hold, How, Key, Order, Posted, What, amount};

/// A hold, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) opened_by: u64,
    /// By which transfer, and whether it was paid out.
    pub(super) ended: Option<(u64, bool)>,
    pub(super) touched: bool,
}

/// A reversal is done once, whoever asks and with whatever key.
pub(super) fn key_of(order: &Order) -> Option<Key> {
    let What::Reverse(transfer, _) = order.what else { return order.key };
    let digest = Sha256::new_with_prefix(b"reversal").chain_update(transfer.to_be_bytes()).finalize();
    Some(Key { key: B256::from_slice(&digest), fingerprint: B256::ZERO })
}

/// What was done before with these keys, with the fingerprints of the requests.
pub(super) async fn done(conn: &mut PgConnection, keys: &[B256]) -> sqlx::Result<HashMap<B256, (B256, Posted)>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    // A body is enough to know who paid, and so which entry has the balance of then.
    let rows = sqlx::query(
        "SELECT key, fingerprint, body, NULL::bigint AS balance FROM transfers WHERE key = ANY($1)
         UNION ALL SELECT k.key, k.fingerprint, t.body, k.balance FROM owned_keys AS k JOIN transfers AS t ON t.id = k.transfer WHERE k.key = ANY($1)",
    );
    let mut done = HashMap::new();
    for row in rows.bind(keys).fetch_all(&mut *conn).await? {
        let (transfer, key) = (transfer(row.try_get("body")?)?, B256::from_slice(row.try_get("key")?));
        let payer = transfer.legs[0].account.cast_signed();
        let balance = match row.try_get("balance")? {
            Some(balance) => balance,
            None => {
                let balance = sqlx::query_scalar("SELECT balance FROM entries WHERE account = $1 AND transfer = $2");
                balance.bind(payer).bind(transfer.id.cast_signed()).fetch_one(&mut *conn).await?
            }
        };
        let Transfer { id, at, reference, .. } = transfer;
        let posted = Posted { transfer: id, at, reference, balance: amount(balance), how: How::Replayed };
        done.insert(key, (B256::from_slice(row.try_get("fingerprint")?), posted));
    }
    Ok(done)
}

/// What was done before with a key, for a request that could not be done any more.
pub(crate) async fn replay(pool: &PgPool, key: &Key) -> sqlx::Result<Option<Posted>> {
    let done = done(&mut *pool.acquire().await?, &[key.key]).await?;
    Ok(done.get(&key.key).filter(|(fingerprint, _)| *fingerprint == key.fingerprint).map(|(_, posted)| posted.clone()))
}

/// What sales are judged by.
#[derive(Default)]
pub(super) struct Known {
    /// What buyers own, by buyer, listing and content.
    pub(super) owned: HashMap<(Uuid, Uuid, B256), Posted>,
    /// What earned a bonus before: the person behind the buyer, listing and content.
    pub(super) rewarded: HashSet<(Uuid, Uuid, B256)>,
    /// When the listings that are for sale changed last.
    pub(super) offers: HashMap<Uuid, OffsetDateTime>,
}

impl Known {
    /// One look for all sales. Each is looked up by an index by itself, however few rows there were when the statement was planned.
    pub(super) async fn of(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<Self> {
        let mut known = Self::default();
        let sales = || orders.iter().filter_map(|order| order.what.sale());
        if sales().next().is_none() {
            return Ok(known);
        }
        let rows = sqlx::query(
            "SELECT o.*, owned.*, owned_at.at AS owned_at, rewarded.*, offer.updated_at
             FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::uuid[], $5::boolean[]) AS o (buyer, listing, content, person, offered)
             LEFT JOIN LATERAL (
                 SELECT id AS sale, content_hash, transfer FROM sales
                 WHERE buyer_id = o.buyer AND listing_id = o.listing AND owned_until > clock_timestamp()
                 ORDER BY transfer DESC LIMIT 1) AS owned ON TRUE
             LEFT JOIN LATERAL (SELECT at FROM transfers WHERE id = owned.transfer LIMIT 1) AS owned_at ON TRUE
             LEFT JOIN LATERAL (
                 SELECT TRUE AS rewarded FROM sales
                 WHERE rewarded = o.person AND listing_id = o.listing AND content_hash = o.content LIMIT 1) AS rewarded ON TRUE
             LEFT JOIN LATERAL (
                 SELECT updated_at FROM listings
                 WHERE o.offered AND id = o.listing AND status = 'active' AND coalesce(expires_at > clock_timestamp(), TRUE) LIMIT 1) AS offer ON TRUE",
        )
        .bind(sales().map(|sale| sale.owned_for.is_positive().then_some(sale.buyer.id)).collect::<Vec<_>>())
        .bind(sales().map(|sale| sale.listing).collect::<Vec<_>>())
        .bind(sales().map(|sale| sale.content_hash.as_slice()).collect::<Vec<_>>())
        .bind(sales().map(|sale| sale.rewarded).collect::<Vec<_>>())
        .bind(sales().map(|sale| sale.offered.is_some()).collect::<Vec<_>>());
        for row in rows.fetch_all(conn).await? {
            let listing = row.try_get("listing")?;
            if let Some(reference) = row.try_get("sale")? {
                let content = B256::from_slice(row.try_get("content_hash")?);
                let transfer = row.try_get::<i64, _>("transfer")?.unsigned_abs();
                let at = row.try_get("owned_at")?;
                let posted = Posted { transfer, at, reference, balance: Amount::ZERO, how: How::Owned };
                known.owned.insert((row.try_get("buyer")?, listing, content), posted);
            }
            if row.try_get::<Option<bool>, _>("rewarded")?.is_some() {
                let content = B256::from_slice(row.try_get("content")?);
                known.rewarded.insert((row.try_get("person")?, listing, content));
            }
            if let Some(updated_at) = row.try_get("updated_at")? {
                known.offers.insert(listing, updated_at);
            }
        }
        Ok(known)
    }
}

pub(super) async fn holds(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, Held>> {
    let ids: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Post(hold, ..) | What::Settle(hold, _) | What::Void(hold) => Some(hold),
            ref what => what.hold().map(|hold| hold.id),
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query("SELECT * FROM holds WHERE id = ANY($1)").bind(ids).fetch_all(conn).await?;
    let hold = |row: &sqlx::postgres::PgRow| {
        let ended: Option<i64> = row.try_get("ended_by")?;
        let posted = row.try_get::<i16, _>("state")? == 2;
        let amount = row.try_get::<i64, _>("amount")?.unsigned_abs();
        let hold = Hold {
            id: row.try_get("id")?,
            from: row.try_get("account")?,
            held: row.try_get("held")?,
            amount: Amount::from_units(amount).unwrap_or_default(),
            expires_at: row.try_get("expires_at")?,
        };
        let opened_by = row.try_get::<i64, _>("opened_by")?.unsigned_abs();
        Ok((hold.id, Held { hold, opened_by, ended: ended.map(|by| (by.unsigned_abs(), posted)), touched: false }))
    };
    rows.iter().map(hold).collect()
}

/// Purchases in steps whose payment was decided, and bonds of those whose dispute was. They stay so until this batch is written; what somebody changes
/// right now waits for nothing.
pub(super) async fn awaited(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashSet<Uuid>> {
    let ids = orders.iter().filter_map(|order| match &order.what {
        What::Pay(hold) => Some(hold.id),
        _ => None,
    });
    let ids: Vec<Uuid> = ids.collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let awaited = "SELECT CASE step WHEN 'hold' THEN id ELSE bond_id END FROM transactions
         WHERE (id = ANY($1) AND step = 'hold') OR (bond_id = ANY($1) AND step = 'bond') FOR SHARE SKIP LOCKED";
    Ok(sqlx::query_scalar(awaited).bind(ids).fetch_all(conn).await?.into_iter().collect())
}

pub(super) async fn reversible(
    conn: &mut PgConnection,
    orders: &[Order],
) -> sqlx::Result<HashMap<u64, (Transfer, Option<AccountId>)>> {
    let ids: Vec<i64> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Reverse(transfer, _) => Some(transfer.cast_signed()),
            _ => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT t.body, a.id AS seller FROM transfers AS t LEFT JOIN sales AS s ON s.transfer = t.id
         LEFT JOIN accounts AS a ON a.owner = s.seller_id AND a.asset = s.asset AND a.purpose = 1 WHERE t.id = ANY($1)",
    );
    let rows = rows.bind(ids).fetch_all(conn).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let transfer = transfer(row.try_get("body")?)?;
        Ok((transfer.id, (transfer, row.try_get("seller")?)))
    };
    rows.iter().map(read).collect()
}

pub(super) fn transfer(body: &[u8]) -> sqlx::Result<Transfer> {
    Transfer::from_body(body).map_err(|error| sqlx::Error::Decode(error.into()))
}
