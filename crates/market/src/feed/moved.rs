//! What moved in the ledger, for those of its parties that listen. Its numbers follow the order of commits, so whoever reads on from one misses none.

use std::collections::HashMap;

use api::{
    EventType, Topic,
    ledger::{Asset, Kind, Transfer},
};
use money::Usdc;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::sequence::New;
use crate::{db, ledger};

/// Events of the transfers after one, up to another.
pub(super) async fn since(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<New>> {
    let mut new = sales(conn, from, upto).await?;
    new.extend(transfers(conn, from, upto).await?);
    new.sort_by_key(|(transfer, _)| *transfer);
    Ok(new.into_iter().map(|(_, event)| event).collect())
}

fn private(kind: EventType, agents: Vec<Uuid>, occurred_at: OffsetDateTime, data: Value) -> New {
    let (event_type, topic) = (kind.as_str().to_owned(), Topic::Agent);
    New { event_type, topic, agents: Some(agents), category: None, urgency: None, occurred_at, data }
}

async fn sales(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<(i64, New)>> {
    let sales = "SELECT s.transfer, s.id, s.buyer_id, s.seller_id, s.listing_id, s.asset, s.price, t.at, l.category
         FROM sales AS s JOIN transfers AS t ON t.id = s.transfer LEFT JOIN listings AS l ON l.id = s.listing_id
         WHERE s.transfer > $1 AND s.transfer <= $2
             AND EXISTS (SELECT FROM feed_listeners AS f WHERE f.agent_id = ANY(ARRAY[s.buyer_id, s.seller_id]))
         ORDER BY s.transfer";
    sqlx::query(sales).bind(from).bind(upto).fetch_all(conn).await?.iter().map(sale).collect()
}

fn sale(row: &PgRow) -> sqlx::Result<(i64, New)> {
    let (transfer, buyer, seller): (i64, Uuid, Uuid) =
        (row.try_get("transfer")?, row.try_get("buyer_id")?, row.try_get("seller_id")?);
    let data = json!({
        "purchase_id": row.try_get::<Uuid, _>("id")?,
        "listing_id": row.try_get::<Uuid, _>("listing_id")?,
        "buyer_id": buyer,
        "seller_id": seller,
        "paid_from": "ledger",
        "asset": asset(row.try_get("asset")?)?,
        "price": ledger::amount(row.try_get("price")?),
        "transfer_id": transfer,
    });
    let mut event = private(EventType::ExpressPurchase, vec![buyer, seller], row.try_get("at")?, data);
    event.category = row.try_get("category")?;
    Ok((transfer, event))
}

/// Payments on chain that settled and were not told, which they are from now on. Whoever folds them has them locked, and is not waited for.
pub(super) async fn settled(conn: &mut PgConnection, most: i64) -> sqlx::Result<Vec<New>> {
    let settled = "WITH new AS (UPDATE purchases SET told = TRUE WHERE id IN (
             SELECT id FROM purchases WHERE status = 'settled' AND NOT told ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING id, listing_id, seller_id, payer, amount, transaction_hash, settled_at)
         SELECT p.*, l.category, ARRAY(SELECT a.id FROM agents AS a WHERE a.wallet = p.payer ORDER BY a.id LIMIT 100) AS buyers
         FROM new AS p LEFT JOIN listings AS l ON l.id = p.listing_id
         WHERE EXISTS (SELECT FROM feed_listeners AS f
             WHERE f.agent_id = p.seller_id OR f.agent_id IN (SELECT a.id FROM agents AS a WHERE a.wallet = p.payer)) ORDER BY p.id";
    sqlx::query(settled).bind(most).fetch_all(conn).await?.iter().map(on_chain).collect()
}

fn on_chain(row: &PgRow) -> sqlx::Result<New> {
    let (seller, buyers): (Uuid, Vec<Uuid>) = (row.try_get("seller_id")?, row.try_get("buyers")?);
    let data = json!({
        "purchase_id": row.try_get::<Uuid, _>("id")?,
        "listing_id": row.try_get::<Uuid, _>("listing_id")?,
        "buyer_wallet": db::address(row, "payer")?,
        "seller_id": seller,
        "paid_from": "chain",
        "asset": Asset::Usdc,
        "price": row.try_get::<Usdc, _>("amount")?,
        "transaction_hash": db::maybe_hash(row, "transaction_hash")?,
    });
    let agents = [seller].into_iter().chain(buyers).collect();
    let mut event = private(EventType::ExpressPurchase, agents, row.try_get("settled_at")?, data);
    event.category = row.try_get("category")?;
    Ok(event)
}

fn asset(number: i16) -> sqlx::Result<Asset> {
    let known = u8::try_from(number).ok().and_then(Asset::from_number);
    known.ok_or_else(|| sqlx::Error::Decode("an asset of a later version".into()))
}

/// Money that was sent, and that came in.
async fn transfers(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<(i64, New)>> {
    let rows = sqlx::query("SELECT body, memo FROM transfers WHERE id > $1 AND id <= $2 AND kind IN ($3, $4) ORDER BY id");
    let rows = rows.bind(from).bind(upto).bind(Kind::Deposit as i16).bind(Kind::Transfer as i16).fetch_all(&mut *conn).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let moved = rows.iter().map(|row| {
        let transfer = Transfer::from_body(row.try_get("body")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok::<_, sqlx::Error>((transfer, row.try_get("memo")?))
    });
    let moved: Vec<(Transfer, Option<String>)> = moved.collect::<sqlx::Result<_>>()?;
    let accounts: Vec<i64> = moved.iter().flat_map(|(transfer, _)| &transfer.legs).map(|leg| leg.account.cast_signed()).collect();
    let owners = "SELECT c.id, c.owner, EXISTS (SELECT FROM feed_listeners AS f WHERE f.agent_id = c.owner) AS heard
         FROM accounts AS c WHERE c.id = ANY($1)";
    let owners = sqlx::query(owners).bind(accounts).fetch_all(conn).await?;
    let owners = owners.iter().map(|row| Ok((row.try_get("id")?, (row.try_get("owner")?, row.try_get("heard")?))));
    let owners: HashMap<i64, (Uuid, bool)> = owners.collect::<sqlx::Result<_>>()?;
    Ok(moved.iter().filter_map(|(transfer, memo)| tell(transfer, memo.as_deref(), &owners)).collect())
}

fn tell(transfer: &Transfer, memo: Option<&str>, owners: &HashMap<i64, (Uuid, bool)>) -> Option<(i64, New)> {
    let gets = transfer.legs.iter().find(|leg| leg.amount > 0)?;
    let gives = transfer.legs.iter().find(|leg| leg.amount < 0)?;
    let owner = |account: u64| owners.get(&account.cast_signed()).copied();
    let (to, to_hears) = owner(gets.account)?;
    let (id, asset, amount) = (transfer.id.cast_signed(), gets.asset, ledger::amount(gets.amount));
    let event = if transfer.kind == Kind::Deposit {
        to_hears.then_some(())?;
        let data = json!({"transfer_id": id, "agent_id": to, "asset": asset, "amount": amount});
        private(EventType::TokenDeposit, vec![to], transfer.at, data)
    } else {
        let (from, from_hears) = owner(gives.account)?;
        (to_hears || from_hears).then_some(())?;
        let data = json!({
            "transfer_id": id, "from_agent_id": from, "to_agent_id": to, "asset": asset, "amount": amount, "memo": memo,
        });
        private(EventType::TokenTransfer, vec![from, to], transfer.at, data)
    };
    Some((id, event))
}
