//! One request that pays USDC by x402 into the caller's balance.
//!
//! The deposit is written down before the payment is settled, under payer and nonce: settled, it is credited at once; and whatever happens in
//! between, the mirror shows the payment if it moved, and the same deposit is credited then. Nobody else can claim a payment that became public
//! by being settled, for it is somebody's already.

use api::{
    Code,
    ledger::{Amount, Deposit},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::IntoResponse,
};
use money::Usdc;
use serde::Deserialize;
use sqlx::Row;
use uuid::Uuid;
use x402::{ExactPayload, PaymentPayload, PaymentRequest, PaymentRequirements, ResourceInfo, SettleResponse, TransferMethod, V2};

use super::deposits;
use crate::{auth::Caller, express, input::Params, operation::Credited, problem::Problem, service::Market};

/// How long an offered payment may take.
const PAYMENT_TIMEOUT_SECONDS: u64 = 60;

/// The parameters of a top-up.
#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopUp {
    /// USDC to pay in.
    amount: Amount,
}

/// `POST /api/v1/wallet/deposits/x402?amount=5`
pub(crate) async fn top_up(
    State(market): State<Market>,
    caller: Caller,
    Params(TopUp { amount }): Params<TopUp>,
    headers: HeaderMap,
) -> Result<Credited, Problem> {
    let (agent, custody) = (caller.agent()?, market.custody()?);
    if amount.is_zero() {
        return Err(Problem::invalid("amount must be more than nothing"));
    }
    let price = Usdc::from_base_units(amount.units());
    let offer = PaymentRequirements::exact(&market.token, price, custody, PAYMENT_TIMEOUT_SECONDS);
    let url = format!("{}/api/v1/wallet/deposits/x402?amount={amount}", market.public_url.as_str().trim_end_matches('/'));
    let asked = |error: Option<&str>| {
        let resource = ResourceInfo { description: Some(format!("{amount} USDC into your balance")), ..ResourceInfo::new(&url) };
        express::payment_required(resource, offer.clone(), error, None).map(Credited)
    };
    let Some(proof) = headers.get(x402::header::PAYMENT_SIGNATURE) else { return asked(None) };
    let bad = |why: &dyn std::fmt::Display| Problem::invalid(format!("PAYMENT-SIGNATURE: {why}"));
    let payment: PaymentPayload = x402::header::decode(proof.as_bytes()).map_err(|e| bad(&e))?;
    let exact = payment.exact().map_err(|e| bad(&e))?;
    if exact.method() != TransferMethod::Eip3009 {
        return Err(bad(&"sign an EIP-3009 authorization, as offered"));
    }
    if x402::find_matching(std::slice::from_ref(&offer), &payment).is_none() {
        return asked(Some("the payment is not for this offer"));
    }
    express::ends_soon(&payment, PAYMENT_TIMEOUT_SECONDS)?;
    let request = PaymentRequest { x402_version: V2, payment_payload: payment, payment_requirements: offer.clone() };
    let deposit = match known(&market, &exact).await? {
        Some(deposit) => deposit,
        None => {
            let verdict = market.facilitator.verify(&request).await.map_err(|error| {
                tracing::warn!(%error, "a payment could not be verified");
                Problem::new(Code::Unavailable, "The facilitator does not answer; nothing was charged")
            })?;
            if !verdict.is_valid {
                let reason =
                    verdict.invalid_reason.map_or_else(|| "the payment is not valid".into(), |reason| reason.to_string());
                return asked(Some(&reason));
            }
            write(&market, agent, &exact, amount).await?
        }
    };
    if (deposit.agent, deposit.amount) != (agent, amount.signed()) {
        return Err(Problem::new(Code::PaymentUsed, "Sign a new payment for this deposit"));
    }
    // On its own task: a caller who hangs up does not stop it halfway.
    let (at, payer) = (market.clone(), exact.payer());
    let task = market.spawn(async move { settle(&at, &deposit, &request).await });
    match task.await.map_err(|error| Problem::internal(&error))?? {
        Settled::Yes(told) => {
            let mut receipt =
                SettleResponse::settled(market.token.network.clone(), payer, told.transaction_hash.unwrap_or_default());
            if told.transaction_hash.is_none() {
                receipt.transaction.clear();
            }
            let receipt = x402::header::encode(&receipt).map_err(|error| Problem::internal(&error))?;
            let mut response = Json(*told).into_response();
            let value = HeaderValue::try_from(receipt).map_err(|error| Problem::internal(&error))?;
            response.headers_mut().insert(HeaderName::from_static(x402::header::PAYMENT_RESPONSE), value);
            Ok(Credited(response))
        }
        Settled::Refused(reason) => asked(Some(&reason)),
    }
}

/// A deposit by x402, as it is written down.
struct Written {
    id: Uuid,
    agent: Uuid,
    amount: i64,
    is_pending: bool,
}

enum Settled {
    Yes(Box<Deposit>),
    Refused(String),
}

async fn known(market: &Market, exact: &ExactPayload) -> Result<Option<Written>, Problem> {
    let found =
        "SELECT id, agent_id, amount, status = 'pending' AS is_pending FROM deposits WHERE payer = $1 AND payer_nonce = $2";
    let found = sqlx::query(found).bind(exact.payer().to_vec()).bind(exact.nonce().to_vec()).fetch_optional(&market.pool).await?;
    let Some(row) = found else { return Ok(None) };
    let (id, agent) = (row.try_get("id")?, row.try_get("agent_id")?);
    Ok(Some(Written { id, agent, amount: row.try_get("amount")?, is_pending: row.try_get("is_pending")? }))
}

/// Writes a payment down; when another request wrote it first, that one counts.
async fn write(market: &Market, agent: Uuid, exact: &ExactPayload, amount: Amount) -> Result<Written, Problem> {
    sqlx::query(
        "INSERT INTO deposits (id, agent_id, status, payer, payer_nonce, valid_before, amount)
         SELECT $1, $2, 'pending', $3, $4, $5, $6
         WHERE NOT EXISTS (SELECT FROM unmatched WHERE sender = $3 AND authorization_nonce = $4)
             AND EXISTS (SELECT FROM custody WHERE address = $7)
         ON CONFLICT (payer, payer_nonce) DO NOTHING",
    )
    .bind(Uuid::now_v7())
    .bind(agent)
    .bind(exact.payer().to_vec())
    .bind(exact.nonce().to_vec())
    .bind(super::walk::int(exact.valid_before()))
    .bind(amount.signed())
    .bind(market.custody()?.as_slice())
    .execute(&market.pool)
    .await?;
    let came = "The payment came by itself before this request: an operator will say whose it is";
    known(market, exact).await?.ok_or_else(|| Problem::new(Code::PaymentUsed, came))
}

async fn settle(market: &Market, written: &Written, request: &PaymentRequest) -> Result<Settled, Problem> {
    let pending = || {
        let detail = "Repeat this request with the same payment, not with a new one: it is never charged twice";
        Problem::new(Code::SettlementPending, detail)
    };
    if written.is_pending {
        let answer = market.facilitator.settle(request).await.map_err(|error| {
            tracing::warn!(deposit = %written.id, %error, "a settlement has no outcome yet");
            pending()
        })?;
        if answer.is_pending() {
            return Err(pending());
        }
        if !answer.success {
            // If it moved all the same, the mirror will show it and it is credited then.
            return Ok(Settled::Refused(
                answer.error_reason.map_or_else(|| "the payment could not be settled".into(), |r| r.to_string()),
            ));
        }
        let arrived = "UPDATE deposits SET status = 'arrived', transaction_hash = $2 WHERE id = $1 AND status = 'pending'";
        let transaction = answer.transaction_hash().map(|hash| hash.to_vec());
        sqlx::query(arrived).bind(written.id).bind(transaction).execute(&market.pool).await?;
    }
    // No connection is held while the ledger's writer needs one.
    let row = deposits::find(&mut *market.pool.acquire().await?, written.id).await?;
    if row.try_get::<&str, _>("status")? == "arrived" {
        deposits::credit(market, written.id, written.agent, written.amount).await?;
    }
    let row = deposits::find(&mut *market.pool.acquire().await?, written.id).await?;
    if row.try_get::<&str, _>("status")? != "completed" {
        return Err(Problem::new(Code::PaymentUsed, "The payment has expired without being settled: sign a new one"));
    }
    Ok(Settled::Yes(Box::new(deposits::deposit(market, market.custody()?, &row)?)))
}
