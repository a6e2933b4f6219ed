//! One request, content back, paid from the ledger.

use std::{sync::Arc, time::Instant};

use alloy::primitives::{Address, B256};
use api::{Code, Scope, ledger::Asset};
use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use money::{Bps, Usdc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Idempotency, account};
use crate::{
    auth::Caller,
    content::Blob,
    db,
    ledger::{How, LedgerError, Order, Party, Refused, Sale, What},
    listings,
    problem::Problem,
    service::Market,
};

/// How long a buyer gets the same content of a listing again without charge.
const OWNED_FOR: Duration = Duration::hours(1);

/// Looks at a listing that changes all the time.
const OFFERS_MAX: u32 = 3;

/// A listing that could be bought when it was looked at. What it costs and brings is looked at again as the buyer is charged.
#[derive(Debug)]
pub(crate) struct Offer {
    seller_id: Uuid,
    seller_wallet: Address,
    creator_id: Option<Uuid>,
    price: Usdc,
    quality: Bps,
    content_hash: B256,
    content_size: u64,
    content_type: String,
    updated_at: OffsetDateTime,
}

/// The parameters of an express purchase.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuyQuery {
    #[serde(default)]
    /// `balance` (USDC of the ledger), `token` (ARD of the ledger), or `x402`: a signed payment.
    pub(crate) payment_method: Method,
}

/// What an express purchase is paid with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// USDC of the ledger.
    Balance,
    /// ARD of the ledger.
    Token,
    /// A signed payment of this request, settled on chain.
    #[default]
    X402,
}

/// Charges the caller and hands out the content: opened before the charge, so that nobody pays for what is not there.
pub(crate) async fn buy(
    market: &Market,
    listing_id: Uuid,
    caller: &Caller,
    method: Method,
    key: Option<Idempotency>,
    begun: Instant,
) -> Result<Response, Problem> {
    let asset = if method == Method::Token { Asset::Ard } else { Asset::Usdc };
    let buyer = caller.agent()?;
    caller.must_have(Scope::Buy)?;
    let key = key.map(|key| key.of(buyer, "/express", &(listing_id, method)));
    let mut tries = 0;
    let (posted, offer, mut blob) = loop {
        tries += 1;
        let offer = offer(market, listing_id).await?;
        let blob = market.contents.get(offer.content_hash, offer.content_size).await?;
        let sale = sale(market, caller, listing_id, &offer, asset).await?;
        match market.ledger.submit(Order { key, what: What::Sale(sale) }).await {
            Err(LedgerError::Refused(Refused::Changed)) if tries < OFFERS_MAX => market.offers.invalidate(&listing_id).await,
            posted => break (posted?, offer, blob),
        }
    };
    let mut content_type = offer.content_type.clone();
    if posted.how == How::Replayed {
        // What was bought then, whatever is sold now.
        (content_type, blob) = bought(market, posted.transfer).await?;
    }
    let mut response = blob.whole(&content_type);
    let told = [
        (api::header::PURCHASE_ID, posted.reference.to_string()),
        (api::header::DELIVERY_MS, begun.elapsed().as_millis().to_string()),
        (api::header::BALANCE, posted.balance.to_string()),
        (api::header::IDEMPOTENT_REPLAYED, (posted.how == How::Replayed).to_string()),
    ];
    let told =
        told.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?)));
    response.headers_mut().extend(told);
    Ok(response)
}

/// What is for sale, as it was a moment ago.
async fn offer(market: &Market, listing_id: Uuid) -> Result<Arc<Offer>, Problem> {
    if let Some(offer) = market.offers.get(&listing_id).await {
        return Ok(offer);
    }
    let (listing, content_hash, content_size) = listings::for_sale(&mut *market.pool.acquire().await?, listing_id).await?;
    let offer = Arc::new(Offer {
        seller_id: listing.seller_id,
        seller_wallet: listing.seller_wallet,
        creator_id: listing.creator_id,
        price: listing.price,
        quality: listing.quality_bps.unwrap_or_default(),
        content_hash,
        content_size,
        content_type: listing.content_type,
        updated_at: listing.updated_at,
    });
    market.offers.insert(listing_id, offer.clone()).await;
    Ok(offer)
}

async fn sale(market: &Market, caller: &Caller, listing: Uuid, offer: &Offer, asset: Asset) -> Result<Sale, Problem> {
    let (buyer, person) = (caller.agent()?, caller.person()?);
    // Nobody earns a bonus by buying from themselves.
    let strangers = caller.wallet()? != offer.seller_wallet && Some(person) != offer.creator_id;
    let may_mint = asset == Asset::Ard && offer.quality >= market.rates.bonus_from;
    let royalty = match offer.creator_id {
        Some(creator) => Some((account(market, creator, asset).await?, market.rates.royalty)),
        None => None,
    };
    let price = asset.price_of(offer.price);
    Ok(Sale {
        id: Uuid::now_v7(),
        listing,
        buyer: Party { id: buyer, account: account(market, buyer, asset).await? },
        seller: Party { id: offer.seller_id, account: account(market, offer.seller_id, asset).await? },
        royalty,
        price: price.ok_or_else(|| Problem::new(Code::Inconsistent, "The price is too large for the ledger"))?,
        quality: offer.quality,
        rewarded: (may_mint && strangers).then_some(person),
        content_hash: offer.content_hash,
        content_size: offer.content_size,
        content_type: offer.content_type.clone(),
        owned_for: OWNED_FOR,
        offered: Some(offer.updated_at),
    })
}

async fn bought(market: &Market, transfer: u64) -> Result<(String, Blob), Problem> {
    let row = sqlx::query("SELECT content_hash, content_size, content_type FROM sales WHERE transfer = $1");
    let row = row.bind(transfer.cast_signed()).fetch_one(&market.pool).await?;
    let (hash, size): (_, i64) = (db::hash(&row, "content_hash")?, row.try_get("content_size")?);
    Ok((row.try_get("content_type")?, market.contents.get(hash, size.unsigned_abs()).await?))
}
