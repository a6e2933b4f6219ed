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
    let What::Reverse(transfer) = order.what else { return order.key };
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

pub(super) async fn owned(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<(Uuid, Uuid, B256), Posted>> {
    let wanted = orders.iter().filter_map(|order| match &order.what {
        What::Sale(sale) if sale.owned_for.is_positive() => Some((sale.buyer.id, sale.listing)),
        _ => None,
    });
    let (buyers, listings): (Vec<_>, Vec<_>) = wanted.unzip();
    if buyers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT s.*, t.at FROM unnest($1::uuid[], $2::uuid[]) AS wanted (buyer, listing)
         CROSS JOIN LATERAL (
             SELECT id, buyer_id, listing_id, content_hash, transfer FROM sales
             WHERE buyer_id = buyer AND listing_id = listing AND owned_until > clock_timestamp() ORDER BY transfer DESC LIMIT 1) AS s
         JOIN transfers AS t ON t.id = s.transfer",
    );
    let mut owned = HashMap::new();
    for row in rows.bind(buyers).bind(listings).fetch_all(conn).await? {
        let content = B256::from_slice(row.try_get("content_hash")?);
        let transfer = row.try_get::<i64, _>("transfer")?.unsigned_abs();
        let (at, reference) = (row.try_get("at")?, row.try_get("id")?);
        let posted = Posted { transfer, at, reference, balance: Amount::ZERO, how: How::Owned };
        owned.insert((row.try_get("buyer_id")?, row.try_get("listing_id")?, content), posted);
    }
    Ok(owned)
}

/// What of the sales at hand has earned a bonus before. Only those that may are looked for.
pub(super) async fn rewarded(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashSet<(Uuid, Uuid, B256)>> {
    let wanted = orders.iter().filter_map(|order| match &order.what {
        What::Sale(sale) => Some((sale.rewarded?, sale.listing)),
        _ => None,
    });
    let (persons, listings): (Vec<_>, Vec<_>) = wanted.unzip();
    if persons.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query(
        "SELECT rewarded, listing_id, content_hash FROM unnest($1::uuid[], $2::uuid[]) AS wanted (person, listing)
         JOIN sales ON rewarded = person AND listing_id = listing",
    );
    let rows = rows.bind(persons).bind(listings).fetch_all(conn).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok((row.try_get("rewarded")?, row.try_get("listing_id")?, B256::from_slice(row.try_get("content_hash")?)))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn offers(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, OffsetDateTime>> {
    let mut ids: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match &order.what {
            What::Sale(sale) => sale.offered.map(|_| sale.listing),
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT id, updated_at FROM listings
         WHERE id = ANY($1) AND status = 'active' AND coalesce(expires_at > clock_timestamp(), TRUE)",
    );
    rows.bind(ids).fetch_all(conn).await?.iter().map(|row| Ok((row.try_get("id")?, row.try_get("updated_at")?))).collect()
}

pub(super) async fn holds(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, Held>> {
    let ids: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Hold(ref hold) | What::Withdraw(ref hold, _) | What::Redeem(ref hold, _) => Some(hold.id),
            What::Post(hold, ..) | What::Void(hold) => Some(hold),
            _ => None,
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

pub(super) async fn reversible(
    conn: &mut PgConnection,
    orders: &[Order],
) -> sqlx::Result<HashMap<u64, (Transfer, Option<AccountId>)>> {
    let ids: Vec<i64> = orders
        .iter()
        .filter_map(|order| match order.what {
            What::Reverse(transfer) => Some(transfer.cast_signed()),
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
