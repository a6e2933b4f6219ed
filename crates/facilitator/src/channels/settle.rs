//! Puts the scheme's four calls on chain, each once: the engine journals them like every other settlement.

use std::{collections::BTreeMap, sync::Arc};

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::Provider,
    signers::SignerSync,
    sol_types::{SolEvent, SolValue},
};
use futures::{FutureExt, future::BoxFuture};
use x402::{
    PaymentRequest, Reason, SettleResponse, TransferMethod,
    batch::{
        BATCH_CONTRACT, BatchPayload, ChannelConfig, Claim, ClaimVoucher, DepositPayload, IBatchSettlement, RefundPayload,
        claim_call, multicall, refund_call, settle_call,
    },
};

use super::{
    Line, settled_extra,
    turns::Turn,
    verify::{Depositable, calls_of, deposit, read},
};
use crate::{
    Error,
    answer::{Answer, Failure, outcome, receipt, submit},
    approval,
    engine::Engine,
    settlement::{Call, Entry, Expected, Key, Method, Settlement},
    token::{IToken, Transfer},
    verify::{Invalid, Next},
};

/// Vouchers claimed by one transaction, at most.
const CLAIMS_MAX: usize = 200;
/// What claims must move at the least, in base units, where our own authorizer signs them: anybody can open a channel that names it and somebody
/// else as its receiver, and would by claims of nearly nothing spend our gas, and that receiver's turns.
const OWN_CLAIM_MIN: u64 = 10_000;
/// What a claim, a refund or a payout may use.
const CLAIM_GAS_MAX: u64 = 8_000_000;

/// Settles a payload of the scheme, or joins whoever is settling the same.
pub(crate) async fn settle(engine: &Arc<Engine>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
    let network = request.payment_requirements.network.clone();
    let payload = match read(engine, request) {
        Ok(payload) => payload,
        Err(reason) => return Ok(SettleResponse::failed(network, None, reason)),
    };
    let payer = payload.channel_config().map(|config| config.payer);
    let answer = match &payload {
        BatchPayload::Deposit(p) => settle_deposit(engine, p, request).await,
        BatchPayload::Claim { claims, claim_authorizer_signature } => {
            settle_claims(engine, claims, claim_authorizer_signature.as_ref(), request).await
        }
        BatchPayload::Settle { receiver, token } => settle_receiver(engine, *receiver, *token, request).await,
        BatchPayload::Refund(p) => settle_refund(engine, p, request).await,
        BatchPayload::Voucher(_) => Err(Reason::BatchPayloadType.into()),
    };
    receipt(answer, network, payer)
}

async fn settle_deposit(engine: &Arc<Engine>, payload: &DepositPayload, request: &PaymentRequest) -> Answer {
    let (config, authorization) = (&payload.channel_config, &payload.deposit.authorization);
    let channel_id = engine.verifier.channels.chain.channel_id(config);
    if payload.voucher.channel_id != channel_id {
        return Err(Reason::BatchChannelIdMismatch.into());
    }
    let key = deposit_key(engine, payload);
    let amount = U256::from(payload.deposit.amount);
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => {
            let mut verdict = deposit(engine, payload, request).await?;
            if let Ok(Depositable { next: Next::Approve(approval), .. }) = &verdict {
                verdict = match approval::carry(engine, approval, amount).await? {
                    Ok(()) => deposit(engine, payload, request).await?,
                    Err(refusal) => Err(refusal),
                };
            }
            let call = match verdict {
                Ok(Depositable { next: Next::Send { call, .. }, .. }) => call,
                Ok(Depositable { next: Next::Approve(_), .. }) => return Err(Reason::Erc20ApprovalTxFailed.into()),
                Err(refusal) => return deposited(engine, &key, payload, request, refusal).await,
            };
            // Permit2 does not tell to whom the collector lets it send.
            let expected = match authorization.method() {
                TransferMethod::Eip3009 => Expected::Transfer,
                TransferMethod::Permit2 => Expected::Success,
            };
            submit(
                engine,
                Settlement {
                    key,
                    payee: authorization.collector(),
                    amount,
                    call,
                    expected,
                    signer: None,
                    batchable: false,
                    funds: None,
                },
            )
            .await?
        }
    };
    joined(engine, entry, payload, request).await
}

/// What identifies a deposit: what its payer signed.
pub(super) fn deposit_key(engine: &Engine, payload: &DepositPayload) -> Key {
    let (config, authorization) = (&payload.channel_config, &payload.deposit.authorization);
    let nonce = authorization.nonce(payload.voucher.channel_id);
    let method = authorization.method().into();
    Key { chain_id: engine.verifier.chain_id, method, token: config.token, payer: config.payer, nonce }
}

/// A deposit that would fail now may have been made a moment ago, by another request or by somebody else: anybody can send it.
async fn deposited(
    engine: &Arc<Engine>,
    key: &Key,
    payload: &DepositPayload,
    request: &PaymentRequest,
    refusal: Invalid,
) -> Answer {
    if let Some(entry) = engine.find(key).await? {
        return joined(engine, entry, payload, request).await;
    }
    let (config, authorization) = (&payload.channel_config, &payload.deposit.authorization);
    let amount = U256::from(payload.deposit.amount);
    let transfer = Transfer { token: config.token, from: config.payer, to: authorization.collector(), amount };
    // The payer's signature was judged before the simulation.
    let is_signed = refusal.reason == Reason::BatchDepositSimulationFailed && key.method == Method::Eip3009;
    let hash = if is_signed { engine.settled_elsewhere(*key, &transfer, None).await?.transaction() } else { None };
    let Some(hash) = hash else { return Err(refusal.into()) };
    let response = SettleResponse::settled(request.payment_requirements.network.clone(), config.payer, hash);
    with_state(engine, payload, response).await
}

/// Waits for the end of a deposit that was sent.
async fn joined(engine: &Arc<Engine>, entry: Entry, payload: &DepositPayload, request: &PaymentRequest) -> Answer {
    // The nonce is the key; whoever shows it with other terms did not make this deposit.
    if !calls_of(payload, request).contains(&entry.settlement.call.input) {
        return Err(Reason::BatchReceiveSignature.into());
    }
    let network = &request.payment_requirements.network;
    let response = outcome(engine, entry, network, None, Reason::BatchDepositFailed).await?;
    with_state(engine, payload, response).await
}

/// Says what the channel holds after a deposit.
async fn with_state(engine: &Arc<Engine>, payload: &DepositPayload, mut response: SettleResponse) -> Answer {
    let config = &payload.channel_config;
    response.payer = Some(config.payer.to_checksum(None));
    if response.success {
        response.amount = Some(U256::from(payload.deposit.amount).into());
        let state = engine.channel_state(payload.voucher.channel_id, config.payer, config.token).await?;
        response.extra = state.map(|(state, _)| settled_extra(&state));
    }
    Ok(response)
}

async fn settle_claims(engine: &Arc<Engine>, claims: &[Claim], signature: Option<&Bytes>, request: &PaymentRequest) -> Answer {
    let network = &request.payment_requirements.network;
    let Some(Claim { voucher: ClaimVoucher { channel: first, .. }, .. }) = claims.first().filter(|_| claims.len() <= CLAIMS_MAX)
    else {
        return Err(Reason::BatchPayloadType.into());
    };
    let (receiver, token) = asked(request)?;
    for claim in claims {
        check_account(&claim.voucher.channel, receiver, token)?;
    }
    let input = claim_input(engine, claims, signature)?;
    let key = channel_key(engine, token, receiver, keccak256(&input));
    // The chain takes no claims that their authorizer did not sign.
    let line = Line::Claims { receiver, token, authorizer: first.receiver_authorizer };
    let least = if signature.is_none() { U256::from(OWN_CLAIM_MIN) } else { U256::ZERO };
    let (entry, _turn) = in_turn(engine, line, key, receiver, || claim(engine, claims, input.clone(), least).boxed()).await?;
    outcome(engine, entry, network, None, Reason::BatchClaimFailed).await
}

/// The call of claims, if it would move something now, and at least so much.
async fn claim(engine: &Engine, claims: &[Claim], input: Bytes, least: U256) -> Result<Call, Failure> {
    // Of a channel that is named twice the greater claim counts.
    let mut totals = BTreeMap::new();
    for claim in claims {
        let total: &mut u128 = totals.entry(engine.verifier.channels.chain.channel_id(&claim.voucher.channel)).or_default();
        *total = claim.total_claimed.max(*total);
    }
    let Some(states) = engine.channels_claimed(totals.keys().copied()).await? else {
        return Err(Reason::BatchRpcReadFailed.into());
    };
    let new = totals.values().zip(states).map(|(total, before)| U256::from(total.saturating_sub(before)));
    match new.sum::<U256>() {
        // The contract passes over what was claimed before, and would be called for nothing.
        U256::ZERO => return Err(Reason::BatchNothingToSettle.into()),
        new => engine.verifier.check_least(new, least)?,
    }
    Ok(engine.simulate(BATCH_CONTRACT, input, CLAIM_GAS_MAX, Reason::BatchClaimSimulationFailed).await??)
}

/// Sends the call that `judge` makes when it is its turn, or joins the one with its key. What would be refused now takes no turn: whoever makes
/// it up keeps nobody waiting.
async fn in_turn<'a>(
    engine: &'a Arc<Engine>,
    line: Line,
    key: Key,
    about: Address,
    judge: impl Fn() -> BoxFuture<'a, Result<Call, Failure>>,
) -> Result<(Entry, Option<Turn<'a, Line>>), Failure> {
    if let Some(entry) = engine.find(&key).await? {
        return Ok((entry, None));
    }
    if let Err(failure) = judge().await {
        // Sent a moment ago by another request?
        return Ok((engine.find(&key).await?.ok_or(failure)?, None));
    }
    let turn = engine.verifier.channels.turns.take(line).await?;
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => begin(engine, key, about, judge().await?).await?,
    };
    Ok((entry, Some(turn)))
}

/// Whom the seller says that the call is for, and in which token.
fn asked(request: &PaymentRequest) -> Result<(Address, Address), Reason> {
    let requirements = &request.payment_requirements;
    Ok((
        requirements.pay_to_address().ok_or(Reason::BatchReceiverMismatch)?,
        requirements.asset_address().ok_or(Reason::BatchTokenMismatch)?,
    ))
}

fn check_account(channel: &ChannelConfig, receiver: Address, token: Address) -> Result<(), Reason> {
    match (channel.receiver == receiver, channel.token == token) {
        (false, _) => Err(Reason::BatchReceiverMismatch),
        (_, false) => Err(Reason::BatchTokenMismatch),
        _ => Ok(()),
    }
}

/// The call, signed by us where the receivers made us their authorizer and left it to us.
fn claim_input(engine: &Engine, claims: &[Claim], signature: Option<&Bytes>) -> Result<Bytes, Failure> {
    let signature = match (signature, &engine.verifier.channels.authorizer) {
        (Some(signature), _) => signature.clone(),
        (None, None) => return Err(Reason::BatchAuthorizerNotConfigured.into()),
        (None, Some(authorizer)) => {
            if claims.iter().any(|claim| claim.voucher.channel.receiver_authorizer != authorizer.address()) {
                return Err(Reason::BatchAuthorizerAddressMismatch.into());
            }
            let hash = engine.verifier.channels.chain.claim_batch_hash(claims);
            authorizer.sign_hash_sync(&hash).map_err(Error::from)?.as_bytes().into()
        }
    };
    Ok(claim_call(claims, signature))
}

async fn settle_receiver(engine: &Arc<Engine>, receiver: Address, token: Address, request: &PaymentRequest) -> Answer {
    let network = &request.payment_requirements.network;
    match asked(request)? {
        (wanted, _) if wanted != receiver => return Err(Reason::BatchReceiverMismatch.into()),
        (_, wanted) if wanted != token => return Err(Reason::BatchTokenMismatch.into()),
        _ => {}
    }
    payout(engine, receiver, token).await?;
    let _turn = engine.verifier.channels.turns.take(Line::Payouts { receiver, token }).await?;
    let (key, call) = payout(engine, receiver, token).await?;
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => begin(engine, key, receiver, call).await?,
    };
    let mut response = outcome(engine, entry, network, None, Reason::BatchSettleFailed).await?;
    if let Some(hash) = response.transaction_hash().filter(|_| response.success) {
        let mined = engine.verifier.provider.get_transaction_receipt(hash).await?;
        let logs = mined.iter().flat_map(|mined| mined.logs()).filter(|log| log.address() == BATCH_CONTRACT);
        let paid = logs
            .filter_map(|log| IBatchSettlement::Settled::decode_log(&log.inner).ok())
            .find(|event| (event.receiver, event.token) == (receiver, token));
        // Without the event somebody else paid it out a moment before.
        response.amount = Some(U256::from(paid.map_or(0, |event| event.amount)).into());
    }
    Ok(response)
}

/// The call that pays out what was claimed, if there is something. Whoever asks while so much is being paid out means this payout.
async fn payout(engine: &Engine, receiver: Address, token: Address) -> Result<(Key, Call), Failure> {
    let Some((claimed, settled)) = engine.receiver_totals(receiver, token).await? else {
        return Err(Reason::BatchRpcReadFailed.into());
    };
    if claimed <= settled {
        return Err(Reason::BatchNothingToSettle.into());
    }
    engine.verifier.check_minimum(U256::from(claimed - settled))?;
    let input = settle_call(receiver, token);
    let call = engine.simulate(BATCH_CONTRACT, input, CLAIM_GAS_MAX, Reason::BatchSettleSimulationFailed).await??;
    let nonce = keccak256(("settle", U256::from(claimed)).abi_encode());
    Ok((channel_key(engine, token, receiver, nonce), call))
}

async fn settle_refund(engine: &Arc<Engine>, payload: &RefundPayload, request: &PaymentRequest) -> Answer {
    let (config, network) = (&payload.channel_config, &request.payment_requirements.network);
    let channel_id = engine.verifier.channels.chain.channel_id(config);
    let (Some(amount), Some(nonce), Some(claims)) = (payload.amount, payload.refund_nonce, &payload.claims) else {
        return Err(Reason::BatchPayloadType.into());
    };
    let (receiver, token) = asked(request)?;
    check_account(config, receiver, token)?;
    if claims.iter().any(|claim| claim.voucher.channel != *config) {
        return Err(Reason::BatchChannelIdMismatch.into());
    }
    let Some(signature) = &payload.refund_authorizer_signature else {
        return Err(Reason::BatchAuthorizerNotConfigured.into());
    };
    let call = refund_call(config, amount, nonce.0, signature.clone());
    let input = match claims.len() {
        0 => call,
        1..=CLAIMS_MAX => {
            let claim = claim_input(engine, claims, payload.claim_authorizer_signature.as_ref())?;
            multicall(vec![claim, call])
        }
        _ => return Err(Reason::BatchPayloadType.into()),
    };
    let key = channel_key(engine, config.token, config.payer, keccak256(&input));
    let judge = || refund(engine, config, amount, claims, input.clone()).boxed();
    let (entry, _turn) = in_turn(engine, Line::Refunds(channel_id), key, config.payer, judge).await?;
    let mut response = outcome(engine, entry, network, None, Reason::BatchRefundFailed).await?;
    response.payer = Some(config.payer.to_checksum(None));
    if let Some(hash) = response.transaction_hash().filter(|_| response.success) {
        let mined = engine.verifier.provider.get_transaction_receipt(hash).await?;
        let logs = mined.iter().flat_map(|mined| mined.logs()).filter(|log| log.address() == config.token);
        let given = logs
            .filter_map(|log| IToken::Transfer::decode_log(&log.inner).ok())
            .filter(|event| (event.from, event.to) == (BATCH_CONTRACT, config.payer))
            .fold(U256::ZERO, |sum, event| sum.saturating_add(event.value));
        response.amount = Some(given.into());
        let state = engine.channel_state(channel_id, config.payer, config.token).await?;
        response.extra = state.map(|(state, _)| settled_extra(&state));
    }
    Ok(response)
}

/// The call that gives back what is left of a channel, or a part of it, if there is something now.
async fn refund(engine: &Engine, config: &ChannelConfig, amount: u128, claims: &[Claim], input: Bytes) -> Result<Call, Failure> {
    let channel_id = engine.verifier.channels.chain.channel_id(config);
    let Some((state, _)) = engine.channel_state(channel_id, config.payer, config.token).await? else {
        return Err(Reason::BatchRpcReadFailed.into());
    };
    let claimed = claims.iter().map(|claim| claim.total_claimed).max().unwrap_or(0).max(state.total_claimed);
    if amount == 0 || claimed == state.balance {
        return Err(Reason::BatchRefundNoBalance.into());
    }
    // All that is left may be less; a part of it is worth its gas, or a channel could be given back by the unit.
    if amount < state.balance.saturating_sub(claimed) {
        engine.verifier.check_minimum(U256::from(amount))?;
    }
    Ok(engine.simulate(BATCH_CONTRACT, input, CLAIM_GAS_MAX, Reason::BatchRefundSimulationFailed).await??)
}

fn channel_key(engine: &Engine, token: Address, about: Address, nonce: B256) -> Key {
    Key { chain_id: engine.verifier.chain_id, method: Method::Channel, token, payer: about, nonce }
}

/// Sends a call that pays nobody by itself.
async fn begin(engine: &Arc<Engine>, key: Key, about: Address, call: Call) -> Result<Entry, Failure> {
    let (amount, expected) = (U256::ZERO, Expected::Success);
    submit(engine, Settlement { key, payee: about, amount, call, expected, signer: None, batchable: false, funds: None }).await
}
