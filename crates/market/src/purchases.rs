use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use alloy::primitives::{Address, B256};
use api::{Code, Page, Purchase, PurchaseFilter, PurchaseStatus, ledger::Asset};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName},
    response::Response,
};
use moka::future::Cache;
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    auth::Caller,
    content::Label,
    db, health,
    input::{self, Id, Params},
    ledger,
    moment::MOMENT,
    operation::OwnContent,
    problem::Problem,
    service::Market,
};

/// Purchases by x402 for which something holds, in the form that those from the ledger have.
macro_rules! by_x402 {
    ($which:literal) => {
        concat!(
            "(SELECT id, listing_id, seller_id, payer, NULL::uuid AS buyer_id, 1::smallint AS asset, amount, content_hash, content_size,
                 content_type, status, transaction_hash, created_at
             FROM purchases WHERE ",
            $which,
            ")"
        )
    };
}

/// Purchases from the ledger for which something holds.
macro_rules! from_ledger {
    ($which:literal) => {
        concat!(
            "(SELECT s.id, s.listing_id, s.seller_id, b.wallet, s.buyer_id, s.asset, s.price, s.content_hash, s.content_size, s.content_type,
                 CASE WHEN s.reversed THEN 'reversed' ELSE 'settled' END, NULL, t.at
             FROM sales AS s JOIN agents AS b ON b.id = s.buyer_id JOIN transfers AS t ON t.id = s.transfer WHERE ",
            $which,
            ")"
        )
    };
}

/// Of wallet $1 or agent $2, paid by wallet $3, with ids below $4: a page of each kind, so that each is read in the order of its own index.
const OF_CALLER: &str = concat!(
    by_x402!("payer = $1 AND ($3::bytea IS NULL OR payer = $3) AND id < $4 ORDER BY id DESC LIMIT $5"),
    " UNION ALL ",
    by_x402!("seller_id = $2 AND payer <> $1 AND ($3::bytea IS NULL OR payer = $3) AND id < $4 ORDER BY id DESC LIMIT $5"),
    " UNION ALL ",
    from_ledger!("s.buyer_id = $2 AND ($3::bytea IS NULL OR b.wallet = $3) AND s.id < $4 ORDER BY s.id DESC LIMIT $5"),
    " UNION ALL ",
    from_ledger!("s.seller_id = $2 AND ($3::bytea IS NULL OR b.wallet = $3) AND s.id < $4 ORDER BY s.id DESC LIMIT $5"),
    " ORDER BY id DESC LIMIT $5"
);

/// Anybody's: the one with the id $1.
const ONE: &str = concat!(by_x402!("id = $1"), " UNION ALL ", from_ledger!("s.id = $1"));

/// `GET /api/v1/purchases`: what the caller paid for or sold, nobody else's.
pub(crate) async fn list(
    State(market): State<Market>,
    caller: Caller,
    Params(f): Params<PurchaseFilter>,
) -> Result<Json<Page<Purchase>>, Problem> {
    let limit = input::limit(f.limit)?;
    let rows = sqlx::query(OF_CALLER)
        .bind(caller.wallet()?.as_slice())
        .bind(caller.agent_id())
        .bind(f.payer.map(|payer| payer.to_vec()))
        .bind(input::before(f.cursor.as_deref())?)
        .bind(limit as i64 + 1)
        .fetch_all(&market.pool)
        .await?;
    let purchases = rows.iter().map(purchase).collect::<Result<_, _>>()?;
    Ok(Json(input::page(purchases, limit, |purchase: &Purchase| purchase.id.to_string())))
}

/// `GET /api/v1/purchases/{id}/content`: what the caller bought, again and without charge, or a range of it.
pub(crate) async fn content(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    headers: HeaderMap,
) -> Result<OwnContent, Problem> {
    let begun = Instant::now();
    let owned = owned(&market, id, &caller).await?;
    let blob = market.contents.get(owned.content_hash, owned.content_size).await?;
    Ok(OwnContent(deliver(blob.asked(&owned.content_type, &headers).await?, begun)))
}

/// Says how long it took.
pub(crate) fn deliver(mut response: Response, begun: Instant) -> Response {
    const DELIVERY_MS: HeaderName = HeaderName::from_static(api::header::DELIVERY_MS);
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert(DELIVERY_MS, ms.into());
    response
}

/// Who reads what: a purchase, the calling agent and its wallet.
pub(crate) type Reader = (Uuid, Option<Uuid>, Address);

/// What somebody may read.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) content_hash: B256,
    pub(crate) content_size: u64,
    pub(crate) content_type: String,
    pub(crate) label: Label,
    /// Sales that were reversed before this was found.
    reversals: i64,
}

/// How many sales were reversed, asked every few seconds.
#[derive(Debug)]
pub(crate) struct Reversals {
    asked: Cache<(), i64>,
    /// The last answer, and when it was asked for: to be looked at without waiting.
    last: RwLock<Option<(Instant, i64)>>,
}

impl Default for Reversals {
    fn default() -> Self {
        Self { asked: Cache::builder().max_capacity(1).time_to_live(MOMENT).build(), last: RwLock::default() }
    }
}

impl Reversals {
    async fn count(&self, pool: &PgPool) -> Result<i64, Problem> {
        let ask = async {
            let at = Instant::now();
            let count: i64 = sqlx::query_scalar("SELECT reversals FROM ledger").fetch_one(pool).await?;
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((at, count));
            Ok::<_, sqlx::Error>(count)
        };
        self.asked.try_get_with((), ask).await.map_err(|_| health::down())
    }

    /// As far as is known without asking.
    fn known(&self) -> Option<i64> {
        let last = *self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < MOMENT).map(|(_, count)| count)
    }
}

/// What the caller bought. Only a reversal takes that away, so it is looked for again when there was one, of whatever sale; whether there was is
/// asked once every few seconds, however much is read.
async fn owned(market: &Market, id: Uuid, caller: &Caller) -> Result<Arc<Owned>, Problem> {
    let reader = (id, caller.agent_id(), caller.wallet()?);
    let reversals = market.reversals.count(&market.pool).await?;
    if let Some(owned) = market.owned.get(&reader).filter(|owned| owned.reversals == reversals) {
        return Ok(owned);
    }
    let row = sqlx::query(ONE).bind(id).fetch_optional(&market.pool).await?;
    let row = row.ok_or_else(|| Problem::not_found("purchase of yours"))?;
    let bought = purchase(&row)?;
    let buyer: Option<Uuid> = row.try_get("buyer_id")?;
    if !buys(&bought, buyer, caller)? {
        return Err(Problem::not_found("purchase of yours"));
    }
    match bought.status {
        PurchaseStatus::Settled => {}
        PurchaseStatus::Reversed => return Err(Problem::new(Code::WrongState, "The purchase was reversed")),
        _ => return Err(Problem::new(Code::WrongState, "The payment has not settled")),
    }
    let (content_hash, content_size) = (bought.content_hash, row.try_get::<i64, _>("content_size")?.unsigned_abs());
    let content_type: String = row.try_get("content_type")?;
    let label = Label::new(content_hash, content_size, &content_type);
    let owned = Arc::new(Owned { content_hash, content_size, content_type, label, reversals });
    market.owned.remove(&reader);
    market.owned.offer(reader, owned.clone(), 1);
    Ok(owned)
}

/// One from the ledger is the agent's; one by x402 whoever has the wallet's.
fn buys(bought: &Purchase, buyer: Option<Uuid>, caller: &Caller) -> Result<bool, Problem> {
    Ok(if buyer.is_some() { buyer == caller.agent_id() } else { bought.payer == caller.wallet()? })
}

/// SHA-256 of what the caller bought or sold by a purchase, whatever became of it, and whether it was sold. `None` when there is no such purchase of
/// the caller.
pub(crate) async fn agreed(market: &Market, id: Uuid, caller: &Caller) -> Result<Option<(B256, bool)>, Problem> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(&market.pool).await?;
    let Some(row) = row else { return Ok(None) };
    let bought = purchase(&row)?;
    let sells = caller.agent_id() == Some(bought.seller_id);
    let is_party = sells || buys(&bought, row.try_get("buyer_id")?, caller)?;
    Ok(is_party.then_some((bought.content_hash, sells)))
}

/// What the caller bought, if it was found before and no sale was reversed since, as far as is known.
pub(crate) fn remembered(market: &Market, reader: &Reader) -> Option<Arc<Owned>> {
    let reversals = market.reversals.known()?;
    market.owned.get(reader).filter(|owned| owned.reversals == reversals)
}

fn purchase(row: &PgRow) -> Result<Purchase, sqlx::Error> {
    let asset = u8::try_from(row.try_get::<i16, _>("asset")?).ok().and_then(Asset::from_number);
    Ok(Purchase {
        id: row.try_get("id")?,
        listing_id: row.try_get("listing_id")?,
        seller_id: row.try_get("seller_id")?,
        payer: db::address(row, "payer")?,
        asset: asset.ok_or_else(|| sqlx::Error::Decode("an asset of a later version".into()))?,
        amount: ledger::amount(row.try_get("amount")?),
        content_hash: db::hash(row, "content_hash")?,
        status: db::named(row, "status")?,
        transaction_hash: db::maybe_hash(row, "transaction_hash")?,
        created_at: row.try_get("created_at")?,
    })
}
