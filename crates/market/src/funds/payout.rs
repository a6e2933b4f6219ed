//! Withdrawals on their way: formed into batches, signed once, sent until they are in a final block or cannot be any more.
//!
//! What keeps a batch from being paid twice is not this code but the USDC contract: the custody account signs one authorization (EIP-3009) for
//! the router's whole call, whose nonce is the hash of the batch, and the token burns it. Everything else (which transaction carries it, how
//! often, with which fees, sent by which instance) is about arriving. A withdrawal leaves its batch only when a final block after the
//! authorization's end was walked and none before had it.

use std::time::Duration;

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::{
        BlockId,
        eip1559::Eip1559Estimation,
        eip2718::{Decodable2718, Encodable2718},
    },
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256, Bytes, U256, aliases::U96},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use contracts::{
    payment_router::{IPaymentRouter, PaymentRouter},
    signing::router,
    usdc::Usdc as Token,
};
use sqlx::{Row, postgres::PgRow};
use tracing::{info, warn};
use uuid::Uuid;

use super::{SendError, books};
use crate::{db, service::Market};

/// Withdrawals in one batch, at most.
const BATCH_MAX: i64 = 100;
/// How long the authorization of a batch is good for.
const VALID_SECONDS: i64 = 1_800;
/// A transaction that is not mined is sent again this often, and offers more after that.
const RESEND_EVERY: Duration = Duration::from_secs(6);
const REPLACE_AFTER: Duration = Duration::from_secs(30);
/// Advisory lock of the one instance that sends: "florin" and the task.
const PAYOUT_LOCK: i64 = 0x666c_6f72_696e_0023;

/// Sends what is to be sent. Nothing when another instance is at it.
pub(super) async fn send(market: &Market, signer: &PrivateKeySigner) -> Result<(), SendError> {
    let mut lock = pg::begin(&market.pool).await?;
    let free: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(PAYOUT_LOCK).fetch_one(&mut *lock).await?;
    if !free {
        return Ok(());
    }
    // Of the chain, since it decides whether an authorization is still good.
    let now = market.provider.get_block(BlockId::latest()).await?.ok_or(SendError::NoBlock)?.header.timestamp.cast_signed();
    // One after the other: a batch that is mined makes room for the next, and comes up again should a reorganisation undo it.
    let open = sqlx::query("SELECT * FROM batches WHERE status = 'open' AND payer = $1 ORDER BY id");
    for row in open.bind(signer.address().as_slice()).fetch_all(&market.pool).await? {
        let batch = batch(&row)?;
        let token = Token::new(market.deployment.usdc, &market.provider);
        if !token.authorizationState(batch.payer, batch.authorization_nonce).call().await? {
            return carry(market, signer, &batch, now).await;
        }
    }
    if books::clean(&market.pool).await?
        && let Some(batch) = form(market, signer, now).await?
    {
        carry(market, signer, &batch, now).await?;
    }
    Ok(())
}

struct Batch {
    id: Uuid,
    payer: Address,
    authorization_nonce: B256,
    valid_before: i64,
    call: Bytes,
}

/// Takes what is pending into a signed batch. From the commit on it may be paid.
async fn form(market: &Market, signer: &PrivateKeySigner, now: i64) -> Result<Option<Batch>, SendError> {
    let (payer, token, router) = (signer.address(), market.deployment.usdc, market.deployment.payment_router);
    let waits = "SELECT EXISTS (SELECT FROM withdrawals WHERE status = 'pending')";
    if !sqlx::query_scalar(waits).fetch_one(&market.pool).await? {
        return Ok(None);
    }
    let held = Token::new(token, &market.provider).balanceOf(payer).call().await?;
    let mut tx = pg::begin(&market.pool).await?;
    let pending = "SELECT id, recipient, amount FROM withdrawals WHERE status = 'pending' ORDER BY id LIMIT $1 FOR UPDATE";
    let pending = sqlx::query(pending).bind(BATCH_MAX).fetch_all(&mut *tx).await?;
    let (mut ids, mut legs, mut total) = (Vec::<Uuid>::new(), Vec::new(), 0_i64);
    for row in &pending {
        let amount: i64 = row.try_get("amount")?;
        let Some(sum) = total.checked_add(amount).filter(|sum| U256::from(sum.unsigned_abs()) <= held) else { break };
        total = sum;
        ids.push(row.try_get("id")?);
        legs.push((db::address(row, "recipient")?, U96::from(amount.unsigned_abs())));
    }
    if ids.is_empty() && pending.is_empty() {
        return Ok(None);
    }
    if ids.is_empty() {
        warn!(%payer, balance = %held, "the custody account has less than the next withdrawal; nothing is sent");
        return Ok(None);
    }
    let id = Uuid::now_v7();
    let reference = B256::left_padding_from(id.as_bytes());
    let signed_legs = legs.iter().map(|&(payee, amount)| router::Leg { payee, amount }).collect();
    let content = router::Batch { payer, paymentRef: reference, token, legs: signed_legs };
    let valid_before = now + VALID_SECONDS;
    let chain_id = market.deployment.chain_id;
    let message = router::funding(&content, 0, valid_before.unsigned_abs(), router, chain_id);
    let signature = message.sign(signer)?;
    let authorization = IPaymentRouter::Authorization {
        payer,
        validAfter: U256::ZERO,
        validBefore: U256::from(valid_before),
        signature: signature.as_bytes().into(),
    };
    let legs = legs.into_iter().map(|(payee, amount)| IPaymentRouter::Leg { payee, amount }).collect();
    let call = PaymentRouter::batchPayWithAuthorizationCall { paymentRef: reference, token, legs, authorization };
    let authorization_nonce = router::nonce(&content, router, chain_id);
    let batch = Batch { id, payer, authorization_nonce, valid_before, call: call.abi_encode().into() };
    sqlx::query(
        "INSERT INTO batches (id, payer, authorization_nonce, total, valid_before, call, status) VALUES ($1, $2, $3, $4, $5, $6, 'open')",
    )
    .bind(id)
    .bind(payer.as_slice())
    .bind(authorization_nonce.as_slice())
    .bind(total)
    .bind(valid_before)
    .bind(&batch.call[..])
    .execute(&mut *tx)
    .await?;
    let taken = "UPDATE withdrawals SET status = 'processing', batch_id = $2 WHERE id = ANY($1)";
    sqlx::query(taken).bind(&ids).bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    info!(batch = %id, withdrawals = ids.len(), "a batch of withdrawals is on its way");
    Ok(Some(batch))
}

/// A transaction that carries a batch.
struct Attempt {
    batch_id: Uuid,
    raw: Bytes,
    since_first: Duration,
    since_last: Duration,
}

/// Sends a batch, again or with higher fees when it is time. Any number of its transactions may be mined; one pays.
async fn carry(market: &Market, signer: &PrivateKeySigner, batch: &Batch, now: i64) -> Result<(), SendError> {
    if now >= batch.valid_before {
        return Ok(());
    }
    let mined = market.provider.get_transaction_count(batch.payer).await?;
    let last = last_attempt(market, batch.payer, mined).await?;
    let (raw, is_new) = match last {
        Some(last) if last.batch_id == batch.id && last.since_last < RESEND_EVERY => return Ok(()),
        Some(last) if last.batch_id == batch.id && last.since_first < REPLACE_AFTER => (last.raw, false),
        // Also what carried a batch that came to nothing: it holds the place.
        last => {
            let fees = above(market.provider.estimate_eip1559_fees().await?, last)?;
            (sign(market, signer, batch, mined, fees).await?, true)
        }
    };
    let hash = alloy::primitives::keccak256(&raw);
    if is_new {
        sqlx::query("INSERT INTO batch_attempts (hash, batch_id, payer, account_nonce, raw) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
            .bind(hash.as_slice())
            .bind(batch.id)
            .bind(batch.payer.as_slice())
            .bind(mined.cast_signed())
            .bind(&raw[..])
            .execute(&market.pool)
            .await?;
    } else {
        let again = "UPDATE batch_attempts SET sent_at = now() WHERE hash = $1";
        sqlx::query(again).bind(hash.as_slice()).execute(&market.pool).await?;
    }
    // Journalled: from here on it is found again, whatever becomes of us. "Already known" is as good an answer as any.
    if let Err(error) = market.provider.send_raw_transaction(&raw).await {
        warn!(batch = %batch.id, %error, "the node did not take a batch; it is sent again");
    }
    Ok(())
}

async fn sign(
    market: &Market,
    signer: &PrivateKeySigner,
    batch: &Batch,
    nonce: u64,
    fees: Eip1559Estimation,
) -> Result<Bytes, SendError> {
    let request = TransactionRequest::default()
        .with_from(batch.payer)
        .with_to(market.deployment.payment_router)
        .with_input(batch.call.clone())
        .with_chain_id(market.deployment.chain_id);
    let gas = market.provider.estimate_gas(request.clone()).await?;
    let request = request
        .with_nonce(nonce)
        .with_gas_limit(gas + gas / 4)
        .with_max_fee_per_gas(fees.max_fee_per_gas)
        .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
    let envelope = request.build(&EthereumWallet::from(signer.clone())).await.map_err(alloy::signers::Error::other)?;
    Ok(envelope.encoded_2718().into())
}

/// What to offer for gas: what is asked now, and at least a quarter more than what has the place already, for nodes refuse less than a tenth.
fn above(now: Eip1559Estimation, last: Option<Attempt>) -> Result<Eip1559Estimation, SendError> {
    let Some(last) = last else { return Ok(now) };
    let envelope = TxEnvelope::decode_2718(&mut &last.raw[..]).map_err(|_| SendError::Raw)?;
    warn!(batch = %last.batch_id, nonce = envelope.nonce(), "a transaction of the custody account is not mined; offering more for gas");
    let more = |wei: u128| wei.saturating_add(wei / 4).saturating_add(1);
    Ok(Eip1559Estimation {
        max_fee_per_gas: more(envelope.max_fee_per_gas()).max(now.max_fee_per_gas),
        max_priority_fee_per_gas: more(envelope.max_priority_fee_per_gas().unwrap_or_default()).max(now.max_priority_fee_per_gas),
    })
}

/// What was sent last with a nonce of the account, for whatever batch.
async fn last_attempt(market: &Market, payer: Address, account_nonce: u64) -> Result<Option<Attempt>, sqlx::Error> {
    let last = sqlx::query(
        "SELECT batch_id, raw, extract(epoch FROM now() - first_sent_at)::bigint AS since_first,
             extract(epoch FROM now() - sent_at)::bigint AS since_last
         FROM batch_attempts WHERE payer = $1 AND account_nonce = $2 ORDER BY first_sent_at DESC LIMIT 1",
    );
    let last = last.bind(payer.as_slice()).bind(account_nonce.cast_signed());
    let Some(row) = last.fetch_optional(&market.pool).await? else { return Ok(None) };
    let seconds = |column| row.try_get::<i64, _>(column).map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()));
    Ok(Some(Attempt {
        batch_id: row.try_get("batch_id")?,
        raw: row.try_get::<Vec<u8>, _>("raw")?.into(),
        since_first: seconds("since_first")?,
        since_last: seconds("since_last")?,
    }))
}

fn batch(row: &PgRow) -> sqlx::Result<Batch> {
    Ok(Batch {
        id: row.try_get("id")?,
        payer: db::address(row, "payer")?,
        authorization_nonce: db::hash(row, "authorization_nonce")?,
        valid_before: row.try_get("valid_before")?,
        call: row.try_get::<Vec<u8>, _>("call")?.into(),
    })
}
