//! One request, content back, paid by x402.
//!
//! The order is what keeps buyer and seller whole: the payment is verified, the content is opened, the purchase is written down, only then the
//! money moves, and what is written down is followed up until it is certain whether it moved.

pub(crate) mod journal;
pub(crate) mod settle;

use std::time::Instant;

use alloy::primitives::B256;
use api::{
    Code, Listing,
    ledger::{Amount, Asset},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use money::Usdc;
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use x402::{PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, V2};

use crate::{
    access::Origin,
    auth::Caller,
    content::Blob,
    input::{Id, Params},
    listings,
    operation::Purchased,
    problem::Problem,
    service::Market,
    wallet::{
        Idempotency,
        purchase::{self, BuyQuery},
    },
};
use journal::Entry;
use settle::Outcome;

/// How long an offered payment may take.
const PAYMENT_TIMEOUT_SECONDS: u64 = 60;
/// How much longer a signed payment may be good, for clocks that differ. What is written down of a payment waits for its end.
const PAYMENT_SLACK_SECONDS: u64 = 600;
/// How long after settling a payment's proof alone gets the content again. The proof is public once it is on chain, so later the buyer proves
/// the wallet instead.
const REPLAY: Duration = Duration::minutes(10);

/// `GET` and `POST /api/v1/express/{id}`
pub(crate) async fn buy(
    State(market): State<Market>,
    Id(id): Id,
    Params(query): Params<BuyQuery>,
    origin: Origin,
    caller: Option<Caller>,
    key: Option<Idempotency>,
    headers: HeaderMap,
) -> Result<Purchased, Problem> {
    let begun = Instant::now();
    if query.payment_method != purchase::Method::X402 {
        // Neither a cache or prefetcher nor a request that is repeated because its answer was lost must spend.
        let missing = "Send the header Idempotency-Key, a new one for each purchase and the same one when you repeat it";
        let key = key.ok_or_else(|| Problem::new(Code::IdempotencyKeyMissing, missing))?;
        let caller = caller.ok_or_else(|| Problem::new(Code::Unauthenticated, "The ledger pays for registered agents only"))?;
        return purchase::buy(&market, id, &caller, query, key, begun).await.map(Purchased);
    }
    let Some(proof) = headers.get(x402::header::PAYMENT_SIGNATURE) else {
        let (listing, content_hash, _) = listings::for_sale(&mut *market.pool.acquire().await?, id).await?;
        query.allows(listing.price, content_hash)?;
        return required(&market, &listing, None).map(Purchased);
    };
    let payment: PaymentPayload =
        x402::header::decode(proof.as_bytes()).map_err(|e| Problem::invalid(format!("PAYMENT-SIGNATURE: {e}")))?;
    let key = payment.key().map_err(|e| Problem::invalid(format!("PAYMENT-SIGNATURE: {e}")))?.digest();
    let known = journal::by_key(&market.pool, key).await?;
    let entry = match known {
        Some(entry) => entry,
        None => match begin(&market, id, query, payment.clone(), key).await? {
            Begun::Entry(entry) => *entry,
            Begun::Refused(answer) => return Ok(Purchased(answer)),
        },
    };
    if entry.listing_id != id || entry.payment_hash != hash_of(&payment) {
        return Err(Problem::new(Code::PaymentUsed, "Sign a new payment for this purchase"));
    }
    let is_new = entry.settled_at.is_none();
    let answer = finish(&market, entry, begun).await?;
    if is_new && answer.status().is_success() {
        market.demand.purchase(origin.principal, id);
    }
    Ok(Purchased(answer))
}

/// Refuses a payment that could be settled long after it was offered.
pub(crate) fn ends_soon(payment: &PaymentPayload, timeout_seconds: u64) -> Result<(), Problem> {
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
    let ends = payment.exact().map_or(0, |exact| exact.valid_before());
    if ends <= now.saturating_add(timeout_seconds + PAYMENT_SLACK_SECONDS) {
        return Ok(());
    }
    Err(Problem::invalid(format!("PAYMENT-SIGNATURE: sign a payment that ends in {timeout_seconds} seconds, as offered")))
}

enum Begun {
    Entry(Box<Entry>),
    Refused(Response),
}

/// Verifies a payment that was not seen before, makes sure of the content, and writes the purchase down.
async fn begin(market: &Market, id: uuid::Uuid, query: BuyQuery, payment: PaymentPayload, key: B256) -> Result<Begun, Problem> {
    let (listing, content_hash, content_size) = listings::for_sale(&mut *market.pool.acquire().await?, id).await?;
    query.allows(listing.price, content_hash)?;
    let offer = offer(market, &listing);
    if x402::find_matching(std::slice::from_ref(&offer), &payment).is_none() {
        return required(market, &listing, Some("the payment is not for this offer")).map(Begun::Refused);
    }
    ends_soon(&payment, PAYMENT_TIMEOUT_SECONDS)?;
    let request = PaymentRequest { x402_version: V2, payment_payload: payment, payment_requirements: offer };
    let verdict = market.facilitator.verify(&request).await.map_err(|e| {
        tracing::warn!(error = %e, "a payment could not be verified");
        Problem::new(Code::Unavailable, "The facilitator does not answer; nothing was charged")
    })?;
    if !verdict.is_valid {
        // A request with the same payment may have settled it since this one looked; what it bought is written down before the money moves.
        if let Some(entry) = journal::by_key(&market.pool, key).await? {
            return Ok(Begun::Entry(Box::new(entry)));
        }
        let reason = verdict.invalid_reason.map_or_else(|| "the payment is not valid".into(), |reason| reason.to_string());
        return required(market, &listing, Some(&reason)).map(Begun::Refused);
    }
    drop(market.contents.get(content_hash, content_size).await?);
    let entry = Entry::new(&listing, (content_hash, content_size), key, hash_of(&request.payment_payload), request)
        .ok_or_else(|| Problem::invalid("the payment is not one of the scheme exact in USDC"))?;
    // Before anything is written down or moves; and only who signed learns of it.
    market.refused.wallet_may_pay(entry.payer)?;
    Ok(Begun::Entry(Box::new(journal::write(&market.pool, entry).await?)))
}

/// Moves the money unless it has moved, and delivers.
async fn finish(market: &Market, mut entry: Entry, begun: Instant) -> Result<Response, Problem> {
    if let Some(settled_at) = entry.settled_at
        && OffsetDateTime::now_utc() - settled_at > REPLAY
    {
        let detail = format!("This payment bought it before: read /api/v1/purchases/{}/content as the payer", entry.id);
        return Err(Problem::new(Code::WrongState, detail));
    }
    // Before the money moves: what is paid for must be there.
    let blob = market.contents.get(entry.content_hash, entry.content_size).await?;
    if entry.settled_at.is_none() {
        // On its own task: a buyer who hangs up does not stop it halfway.
        let (at, owned) = (market.clone(), entry.clone());
        let settling = market.spawn(async move { settle::settle(&at, &owned).await });
        match settling.await.map_err(|e| Problem::internal(&e))?? {
            Outcome::Settled(transaction) => entry.transaction_hash = transaction,
            Outcome::Pending => {
                let detail = "Repeat this request with the same payment, not with a new one: it is never charged twice";
                return Err(Problem::new(Code::SettlementPending, detail));
            }
            Outcome::Failed(reason) => {
                let listing = listings::find(&mut *market.pool.acquire().await?, entry.listing_id).await?;
                return required(market, &listing, Some(&reason));
            }
        }
    }
    delivered(market, &entry, blob, begun)
}

fn delivered(market: &Market, entry: &Entry, blob: Blob, begun: Instant) -> Result<Response, Problem> {
    let network = market.token.network.clone();
    let mut receipt = SettleResponse::settled(network, entry.payer, entry.transaction_hash.unwrap_or_default());
    if entry.transaction_hash.is_none() {
        receipt.transaction.clear();
    }
    let receipt = x402::header::encode(&receipt).map_err(|e| Problem::internal(&e))?;
    let more = [
        (HeaderName::from_static(x402::header::PAYMENT_RESPONSE), receipt),
        (HeaderName::from_static(api::header::PURCHASE_ID), entry.id.to_string()),
        (HeaderName::from_static(api::header::DELIVERY_MS), begun.elapsed().as_millis().to_string()),
    ];
    let mut response = blob.whole(&entry.content_type);
    response.headers_mut().extend(more.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
    Ok(response)
}

pub(crate) fn offer(market: &Market, listing: &Listing) -> PaymentRequirements {
    PaymentRequirements::exact(&market.token, listing.price, listing.seller_wallet, PAYMENT_TIMEOUT_SECONDS)
}

/// 402: what to sign.
fn required(market: &Market, listing: &Listing, error: Option<&str>) -> Result<Response, Problem> {
    let path = format!("{}/api/v1/express/{}", market.public_url.as_str().trim_end_matches('/'), listing.id);
    let resource = ResourceInfo {
        description: Some(listing.title.clone()),
        mime_type: Some(listing.content_type.clone()),
        ..ResourceInfo::new(path)
    };
    let ledger = Asset::Ard.price_of(listing.price).map(|token| LedgerOffer {
        balance: listing.price,
        token,
        how: "POST with payment_method=balance or token, Authorization and Idempotency-Key",
    });
    payment_required(resource, offer(market, listing), error, ledger)
}

/// What a purchase costs whose money is in the ledger already.
#[derive(Serialize)]
pub(crate) struct LedgerOffer {
    /// USDC.
    balance: Usdc,
    /// ARD.
    token: Amount,
    how: &'static str,
}

/// What x402 has, and in the body what else there is.
#[derive(Serialize)]
struct Offers {
    #[serde(flatten)]
    required: PaymentRequired,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<LedgerOffer>,
}

/// 402: an offer by x402, and one from the ledger.
pub(crate) fn payment_required(
    resource: ResourceInfo,
    offer: PaymentRequirements,
    error: Option<&str>,
    ledger: Option<LedgerOffer>,
) -> Result<Response, Problem> {
    let error = error.map(str::to_owned);
    let required = PaymentRequired { x402_version: V2, error, resource, accepts: vec![offer], extensions: None };
    let value = x402::header::encode(&required).map_err(|e| Problem::internal(&e))?;
    let headers = [(HeaderName::from_static(x402::header::PAYMENT_REQUIRED), value), (header::CACHE_CONTROL, "no-store".into())];
    Ok((StatusCode::PAYMENT_REQUIRED, headers, Json(Offers { required, ledger })).into_response())
}

/// Only who holds the very proof gets what it bought.
fn hash_of(payment: &PaymentPayload) -> B256 {
    let json = serde_json::to_vec(&payment.payload).expect("maps with text keys serialize");
    B256::from_slice(&Sha256::digest(json))
}
