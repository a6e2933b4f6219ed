//! What is new: sales, reversals and refunds of the ledger, payments that settled, and agreements that ended in a final block.

use std::collections::HashMap;

use alloy::primitives::{Address, B256};
use api::{
    EscrowTerms,
    ledger::{Asset, Transfer},
};
use indexer::read::{self, Event, EventFilter, Order, Position, Span};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger;

/// Accounts below are the house's.
const HOUSE_ACCOUNTS: u64 = 100;
/// Events of the escrow in one go.
const EVENTS_MAX: u32 = 1_000;
/// Agents with one wallet: whoever claimed one of them is behind the wallet.
const BEHIND_WALLET: &str =
    "coalesce((SELECT o.person FROM agents AS o WHERE o.wallet = $$ ORDER BY o.creator_id IS NULL, o.id LIMIT 1),
    encode(substring($$ FROM 5), 'hex')::uuid)";

/// How a purchase turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Paid and delivered.
    Good,
    /// It was good before, and is so no more.
    Reversed,
    /// An arbiter gave most of it back.
    Ruled,
    /// The buyer got the money back without a ruling. Anybody can fund what a seller never agreed to, so it says nothing of the seller.
    Refunded,
}

/// A purchase that turned out so.
#[derive(Clone, Debug)]
pub(super) struct Trade {
    pub(super) outcome: Outcome,
    pub(super) seller: Uuid,
    /// Who is behind the seller, and the buyer.
    pub(super) seller_person: Uuid,
    pub(super) person: Uuid,
    /// The agent that paid from the ledger.
    pub(super) buyer: Option<Uuid>,
    pub(super) listing: Uuid,
    pub(super) category: String,
    pub(super) asset: Asset,
    pub(super) price: i64,
    /// What the house kept of it, and what was burned.
    pub(super) fee: i64,
    /// When it was bought, and when it turned out so.
    pub(super) day: i32,
    pub(super) ended: i32,
}

/// USDC that came in for a person, or went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) person: Uuid,
    pub(super) amount: i64,
}

/// Days from 1970 in UTC.
pub(super) fn day(at: OffsetDateTime) -> i32 {
    i32::try_from(at.unix_timestamp().div_euclid(86_400)).unwrap_or_default()
}

/// Sales and reversals after one transfer, up to another, of who was behind the agents when the sales were counted.
pub(super) async fn sales(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<Trade>> {
    let sales = "SELECT s.seller_id, s.buyer_id, s.listing_id,
             coalesce((SELECT f.person FROM former_persons AS f WHERE f.agent_id = a.id AND f.ledger_to >= s.transfer
                 ORDER BY f.ledger_to, f.id LIMIT 1), a.person) AS seller_person,
             coalesce((SELECT f.person FROM former_persons AS f WHERE f.agent_id = b.id AND f.ledger_to >= s.transfer
                 ORDER BY f.ledger_to, f.id LIMIT 1), b.person) AS person,
             coalesce(l.category, '') AS category, s.asset,
             s.price, t.at, t.body, new.undone_at, EXISTS (SELECT FROM transactions AS d WHERE d.id = s.id AND d.ruled) AS ruled
         FROM (SELECT transfer, NULL::timestamptz AS undone_at FROM sales WHERE transfer > $1 AND transfer <= $2
               UNION ALL
               SELECT r.transfer, u.at FROM transfers AS u JOIN sales AS r ON r.id = u.reference WHERE u.id > $1 AND u.id <= $2 AND u.kind = 8
                   AND NOT EXISTS (SELECT FROM transactions AS d WHERE d.id = r.id AND d.ruled)
              ) AS new
         JOIN sales AS s USING (transfer) JOIN transfers AS t ON t.id = s.transfer
         JOIN agents AS a ON a.id = s.seller_id JOIN agents AS b ON b.id = s.buyer_id LEFT JOIN listings AS l ON l.id = s.listing_id";
    let rows = sqlx::query(sales).bind(from).bind(upto).fetch_all(conn).await?;
    rows.iter().map(sale).collect()
}

fn sale(row: &PgRow) -> sqlx::Result<Trade> {
    let asset = u8::try_from(row.try_get::<i16, _>("asset")?).ok().and_then(Asset::from_number);
    let asset = asset.ok_or_else(|| sqlx::Error::Decode("an asset of a later version".into()))?;
    let house = ledger::House::of(asset);
    let transfer = transfer(row)?;
    let kept = transfer.legs.iter().filter(|leg| [house.revenue, house.burned].contains(&leg.account.cast_signed()));
    let undone: Option<OffsetDateTime> = row.try_get("undone_at")?;
    // What an arbiter gave mostly to the buyer was never good, so it is not reversed either.
    let outcome = if row.try_get("ruled")? { Outcome::Ruled } else { Outcome::Good };
    Ok(Trade {
        outcome: if undone.is_some() { Outcome::Reversed } else { outcome },
        seller: row.try_get("seller_id")?,
        seller_person: row.try_get("seller_person")?,
        person: row.try_get("person")?,
        buyer: Some(row.try_get("buyer_id")?),
        listing: row.try_get("listing_id")?,
        category: row.try_get("category")?,
        asset,
        price: row.try_get("price")?,
        fee: kept.map(|leg| leg.amount).sum(),
        day: day(transfer.at),
        ended: day(undone.unwrap_or(transfer.at)),
    })
}

fn transfer(row: &PgRow) -> sqlx::Result<Transfer> {
    Transfer::from_body(row.try_get("body")?).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// USDC that came in and went out after one transfer, up to another.
pub(super) async fn flows(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<Flow>> {
    let moved = "SELECT t.body FROM entries AS e JOIN transfers AS t ON t.id = e.transfer WHERE e.account = $1 AND e.transfer > $2 AND e.transfer <= $3";
    let rows = sqlx::query(moved).bind(ledger::OUTSIDE).bind(from).bind(upto).fetch_all(&mut *conn).await?;
    let mut flows = Vec::with_capacity(rows.len());
    for row in &rows {
        // What leaves comes from what was held, and the rest goes back to the same owner.
        let legs = transfer(row)?.legs.into_iter().filter(|leg| leg.account >= HOUSE_ACCOUNTS);
        let (accounts, amounts): (Vec<_>, Vec<_>) = legs.map(|leg| (leg.account.cast_signed(), leg.amount)).unzip();
        flows.push((accounts, amounts.into_iter().sum::<i64>()));
    }
    let accounts: Vec<i64> = flows.iter().flat_map(|(accounts, _)| accounts.first().copied()).collect();
    let owners = "SELECT c.id, coalesce(a.person, c.owner) AS person FROM accounts AS c LEFT JOIN agents AS a ON a.id = c.owner WHERE c.id = ANY($1)";
    let owners = sqlx::query(owners).bind(accounts).fetch_all(conn).await?;
    let owners: HashMap<i64, Uuid> =
        owners.iter().map(|row| Ok((row.try_get("id")?, row.try_get("person")?))).collect::<sqlx::Result<_>>()?;
    let flow = |(accounts, amount): (Vec<i64>, i64)| Some(Flow { person: *owners.get(accounts.first()?)?, amount });
    Ok(flows.into_iter().filter_map(flow).collect())
}

/// Payments on chain that settled and were not counted, which they are from now on.
pub(super) async fn payments(conn: &mut PgConnection, most: i64) -> sqlx::Result<Vec<Trade>> {
    let settled = format!(
        "WITH new AS (UPDATE purchases SET counted = TRUE
             WHERE id IN (SELECT id FROM purchases WHERE status = 'settled' AND NOT counted ORDER BY id LIMIT $1) RETURNING *)
         SELECT p.seller_id, a.person AS seller_person, {} AS person, p.listing_id, l.category, p.amount AS price, p.settled_at
         FROM new AS p JOIN agents AS a ON a.id = p.seller_id JOIN listings AS l ON l.id = p.listing_id",
        BEHIND_WALLET.replace("$$", "p.payer")
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(settled)).bind(most).fetch_all(conn).await?;
    rows.iter().map(|row| on_chain(row, Outcome::Good, row.try_get("price")?, row.try_get("settled_at")?)).collect()
}

/// Purchases in steps whose money the ledger gave back, and which were not counted, which they are from now on.
pub(super) async fn refunds(conn: &mut PgConnection, most: i64) -> sqlx::Result<Vec<Trade>> {
    let refunded = "WITH new AS (UPDATE transactions SET outcome = CASE WHEN ruled THEN 'ruled' ELSE 'refunded' END
             WHERE id IN (SELECT id FROM transactions WHERE status = 'refunded' AND outcome IS NULL ORDER BY id LIMIT $1) RETURNING *)
         SELECT t.seller_id, a.person AS seller_person, b.person, t.listing_id, l.category, t.ruled, t.ended_at
         FROM new AS t JOIN agents AS a ON a.id = t.seller_id JOIN agents AS b ON b.id = t.initiator_id JOIN listings AS l ON l.id = t.listing_id";
    let rows = sqlx::query(refunded).bind(most).fetch_all(conn).await?;
    let refund = |row: &PgRow| {
        let outcome = if row.try_get("ruled")? { Outcome::Ruled } else { Outcome::Refunded };
        on_chain(row, outcome, 0, row.try_get("ended_at")?)
    };
    rows.iter().map(refund).collect()
}

/// Nothing was paid from the ledger.
fn on_chain(row: &PgRow, outcome: Outcome, price: i64, at: OffsetDateTime) -> sqlx::Result<Trade> {
    Ok(Trade {
        outcome,
        seller: row.try_get("seller_id")?,
        seller_person: row.try_get("seller_person")?,
        person: row.try_get("person")?,
        buyer: None,
        listing: row.try_get("listing_id")?,
        category: row.try_get("category")?,
        asset: Asset::Usdc,
        price,
        fee: 0,
        day: day(at),
        ended: day(at),
    })
}

/// Agreements that ended in final blocks after a position, and the position up to which there is no other.
pub(super) async fn agreements(
    conn: &mut PgConnection,
    escrow: Address,
    after: Position,
) -> sqlx::Result<(Vec<Trade>, Position)> {
    let Some(status) = read::status(conn).await? else { return Ok((Vec::new(), after)) };
    let head = status.indexed.map_or(0, |head| head.number);
    let Some(last) = head.checked_sub(status.finality_blocks).filter(|last| *last > after.block) else {
        return Ok((Vec::new(), after));
    };
    let blocks = Span { from: None, to: Some(last) };
    let filter = EventFilter {
        contract: Some(escrow),
        blocks,
        after: Some(after),
        order: Order::Asc,
        limit: EVENTS_MAX,
        ..EventFilter::default()
    };
    let events = read::events(conn, &filter).await?;
    let full = events.len() >= EVENTS_MAX as usize;
    let end = Position::end_of(last);
    let upto = events.last().filter(|_| full).map_or(end, |event| event.place.position());
    let mut trades = Vec::new();
    for event in &events {
        trades.extend(ended(conn, event).await?);
    }
    Ok((trades, upto))
}

/// The purchase that an event ends, if it is one of ours and did not end before.
async fn ended(conn: &mut PgConnection, event: &Event) -> sqlx::Result<Option<Trade>> {
    let argument = |name: &str| event.args.as_ref()?.get(name)?.as_str();
    let Some(id) = argument("id").and_then(|id| id.parse::<B256>().ok()) else { return Ok(None) };
    let open = format!(
        "SELECT t.id, t.seller_id, a.person AS seller_person, {} AS person, t.listing_id, l.category, t.terms
         FROM transactions AS t JOIN agents AS a ON a.id = t.seller_id JOIN listings AS l ON l.id = t.listing_id
         WHERE t.agreement_id = $1 AND t.outcome IS NULL",
        BEHIND_WALLET.replace("$$", "t.buyer")
    );
    let open = sqlx::query(sqlx::AssertSqlSafe(open)).bind(id.as_slice()).fetch_optional(&mut *conn).await?;
    let Some(row) = open else { return Ok(None) };
    let Json(terms): Json<EscrowTerms> = row.try_get("terms")?;
    let units = |name| argument(name).and_then(|units| units.parse::<u128>().ok()).unwrap_or_default();
    let ruled = argument("by").and_then(|by| by.parse::<Address>().ok()) == Some(terms.arbiter);
    let outcome = match event.name.as_deref() {
        Some("AgreementReleased") => Outcome::Good,
        Some("AgreementRefunded") => Outcome::Refunded,
        Some("AgreementResolved") if units("toSeller") >= units("toBuyer") => Outcome::Good,
        Some("AgreementResolved") if ruled => Outcome::Ruled,
        Some("AgreementResolved") => Outcome::Refunded,
        _ => return Ok(None),
    };
    let name = match outcome {
        Outcome::Good => "released",
        Outcome::Ruled => "ruled",
        Outcome::Refunded | Outcome::Reversed => "refunded",
    };
    let done = sqlx::query("UPDATE transactions SET outcome = $2 WHERE id = $1").bind(row.try_get::<Uuid, _>("id")?).bind(name);
    done.execute(conn).await?;
    let price = i64::try_from(terms.amount.base_units()).unwrap_or(i64::MAX);
    on_chain(&row, outcome, price, event.place.timestamp).map(Some)
}
