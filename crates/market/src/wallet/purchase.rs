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
    ledger::{self, How, Key, LedgerError, Order, Party, Posted, Refused, Sale, What},
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
    pub(crate) seller_id: Uuid,
    pub(crate) seller_wallet: Address,
    pub(crate) creator_id: Option<Uuid>,
    pub(crate) price: Usdc,
    pub(crate) quality: Bps,
    pub(crate) content_hash: B256,
    pub(crate) content_size: u64,
    pub(crate) content_type: String,
    pub(crate) updated_at: OffsetDateTime,
}

/// An agent that buys, its wallet, and who is behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buyer {
    pub(crate) id: Uuid,
    pub(crate) wallet: Address,
    pub(crate) person: Uuid,
}

/// The parameters of an express purchase.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuyQuery {
    #[serde(default)]
    /// `balance` (USDC of the ledger), `token` (ARD of the ledger), or `x402`: a signed payment.
    pub(crate) payment_method: Method,
    /// What the buyer would pay at most, in USDC as the listing's price is. Costs it more by then, nothing is charged. A signed payment is its own
    /// ceiling.
    #[schemars(with = "Option<api::ledger::Amount>")]
    pub(crate) max_price: Option<Usdc>,
    /// SHA-256 of the content that is wanted, as the listing showed it. Is it another by then, nothing is charged.
    #[schemars(with = "Option<String>")]
    pub(crate) content_hash: Option<B256>,
}

impl BuyQuery {
    /// Refuses what costs more than the buyer would pay, or is something else.
    pub(crate) fn allows(self, price: Usdc, content_hash: B256) -> Result<(), Problem> {
        if self.content_hash.is_some_and(|wanted| wanted != content_hash) {
            let detail = format!("The content is {content_hash} now: look at the listing again; nothing was charged");
            return Err(Problem::new(Code::WrongState, detail));
        }
        match self.max_price {
            Some(max) if price > max => Err(Problem::new(
                Code::PriceTooHigh,
                format!("It costs {price} USDC now, and max_price is {max}; nothing was charged"),
            )),
            _ => Ok(()),
        }
    }
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

/// Charges the caller and hands out the content: opened before the charge, so that nobody pays for what is not there. A key that was answered
/// before is answered so again, whatever became of the listing.
pub(crate) async fn buy(
    market: &Market,
    listing_id: Uuid,
    caller: &Caller,
    query: BuyQuery,
    key: Idempotency,
    begun: Instant,
) -> Result<Response, Problem> {
    let buyer = caller.agent()?;
    caller.must_have(Scope::Buy)?;
    let BuyQuery { payment_method, max_price, .. } = query;
    let key = key.of(buyer, "/express", &(listing_id, payment_method, max_price));
    let (posted, content_type, blob) = match charge(market, listing_id, caller, query, key).await {
        Ok((posted, offer, blob)) if posted.how != How::Replayed => (posted, offer.content_type.clone(), blob),
        Ok((posted, ..)) => bought(market, posted).await?,
        Err(problem) => bought(market, ledger::replay(&market.pool, &key).await?.ok_or(problem)?).await?,
    };
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

/// Charges the caller for a listing, at most what the query says, and opens its content.
pub(crate) async fn charge(
    market: &Market,
    listing_id: Uuid,
    caller: &Caller,
    query: BuyQuery,
    key: Key,
) -> Result<(Posted, Arc<Offer>, Blob), Problem> {
    market.refused.may_pay(caller.agent()?)?;
    let asset = if query.payment_method == Method::Token { Asset::Ard } else { Asset::Usdc };
    let buyer = Buyer { id: caller.agent()?, wallet: caller.wallet()?, person: caller.person()? };
    let mut tries = 0;
    loop {
        tries += 1;
        let mut offer = self::offer(market, listing_id).await?;
        if query.allows(offer.price, offer.content_hash).is_err() {
            // It may have become cheaper, or what is wanted, a moment ago.
            market.offers.invalidate(&listing_id).await;
            offer = self::offer(market, listing_id).await?;
            query.allows(offer.price, offer.content_hash)?;
        }
        let blob = market.contents.get(offer.content_hash, offer.content_size).await?;
        let sale = sale(market, &buyer, listing_id, &offer, asset).await?;
        match market.ledger.submit(Order { key: Some(key), what: What::Sale(sale) }).await {
            Err(LedgerError::Refused(Refused::Changed)) if tries < OFFERS_MAX => market.offers.invalidate(&listing_id).await,
            posted => {
                let posted = posted?;
                if posted.how == How::Now {
                    market.demand.purchase(caller.who.into(), listing_id);
                }
                return Ok((posted, offer, blob));
            }
        }
    }
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

/// What an agent buys by an offer.
pub(crate) async fn sale(market: &Market, buyer: &Buyer, listing: Uuid, offer: &Offer, asset: Asset) -> Result<Sale, Problem> {
    // Nobody earns a bonus by buying from themselves.
    let strangers = buyer.wallet != offer.seller_wallet && Some(buyer.person) != offer.creator_id;
    let may_mint = asset == Asset::Ard && offer.quality >= market.rates.bonus_from;
    let royalty = match offer.creator_id {
        Some(creator) => Some((account(market, creator, asset).await?, market.rates.royalty)),
        None => None,
    };
    let price = asset.price_of(offer.price);
    Ok(Sale {
        id: Uuid::now_v7(),
        listing,
        buyer: Party { id: buyer.id, account: account(market, buyer.id, asset).await? },
        seller: Party { id: offer.seller_id, account: account(market, offer.seller_id, asset).await? },
        royalty,
        price: price.ok_or_else(|| Problem::new(Code::Inconsistent, "The price is too large for the ledger"))?,
        quality: offer.quality,
        rewarded: (may_mint && strangers).then_some(buyer.person),
        content_hash: offer.content_hash,
        content_size: offer.content_size,
        content_type: offer.content_type.clone(),
        owned_for: OWNED_FOR,
        offered: Some(offer.updated_at),
    })
}

/// What was bought then, whatever is sold now; unless the price was given back.
async fn bought(market: &Market, posted: Posted) -> Result<(Posted, String, Blob), Problem> {
    let row = sqlx::query("SELECT content_hash, content_size, content_type, reversed FROM sales WHERE transfer = $1");
    let row = row.bind(posted.transfer.cast_signed()).fetch_one(&market.pool).await?;
    if row.try_get("reversed")? {
        return Err(Problem::new(Code::WrongState, "The purchase was reversed: to buy again, use a new key"));
    }
    let (hash, size): (_, i64) = (db::hash(&row, "content_hash")?, row.try_get("content_size")?);
    Ok((posted, row.try_get("content_type")?, market.contents.get(hash, size.unsigned_abs()).await?))
}
