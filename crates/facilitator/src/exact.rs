//! Scheme `exact`: settles what a payer signed, and says so only to who shows that payment.

use std::{sync::Arc, time::Instant};

use alloy::primitives::{Address, U256};
use x402::{Eip2612Permit, Network, PERMIT2_UPTO_PROXY, PaymentRequest, Reason, SettleResponse, TokenAmount};

use crate::{
    Error, approval,
    engine::Engine,
    owed::Waiting,
    settlement::{Entry, Expected, Key, Settlement, State},
    token::{Transfer, calls_of},
    verify::{Invalid, Names, Next, Valid},
};

/// Would this payment settle now? Then by whom it is paid.
pub(crate) async fn verify(engine: &Engine, request: &PaymentRequest) -> Result<Result<Address, Invalid>, Error> {
    let key = key_of(request, engine.verifier.chain_id);
    let verdict = engine.verifier.judge(request, key.map_or(U256::ZERO, |key| engine.draws(&key))).await?;
    // Signed once more on other terms while the first is under way, it would be refused when it is to settle.
    match (request.payment_payload.exact(), key) {
        (Ok(payload), Some(key)) if verdict.is_ok() => {
            let Transfer { to, amount, .. } = Transfer::of(&payload, key.token);
            let is_taken = engine.is_taken(&key, to, |under_way| under_way == amount);
            Ok(if is_taken { Err(Names::of(payload.method()).nonce.into()) } else { verdict })
        }
        _ => Ok(verdict),
    }
}

/// Settles a payment, or joins whoever is settling it.
pub(crate) async fn settle(engine: &Arc<Engine>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
    let network = request.payment_requirements.network.clone();
    let Some(key) = key_of(request, engine.verifier.chain_id) else {
        return Ok(SettleResponse::failed(network, None, Reason::InvalidPayload));
    };
    if network.chain_id() != Some(key.chain_id) {
        return Ok(SettleResponse::failed(network, Some(key.payer), Reason::InvalidNetwork));
    }
    if let Some(entry) = engine.joined(&key).await? {
        return join(engine, entry, request, network).await;
    }
    let deadline = Instant::now() + engine.limits.confirm_timeout;
    let mut place = None;
    loop {
        match begin(engine, key, request, network.clone(), &mut place).await {
            // The work for it is done: it waits for what its payer began before, if not too many do.
            Err(Error::Owes) if Instant::now() < deadline => {
                place = place.or_else(|| engine.verifier.owed.wait(key.token, key.payer));
                place.as_ref().ok_or(Error::Owes)?.change().await;
            }
            answer => return answer,
        }
    }
}

/// What identifies a payment of this scheme: by the token the server asked for, for what the client echoed is not to be trusted.
fn key_of(request: &PaymentRequest, chain_id: u64) -> Option<Key> {
    let (payload, token) = (request.payment_payload.exact().ok()?, request.payment_requirements.asset_address()?);
    Some(Key { chain_id, method: payload.method().into(), token, payer: payload.payer(), nonce: payload.nonce() })
}

/// Verifies, sends, and waits for the end. The place among those that wait for their payer's money is free when it is sent.
async fn begin(
    engine: &Arc<Engine>,
    key: Key,
    request: &PaymentRequest,
    network: Network,
    place: &mut Option<Waiting<'_>>,
) -> Result<SettleResponse, Error> {
    // A payment that was begun before does not verify any more, or the journal refuses it: there is no need to ask the journal first.
    let own = engine.draws(&key);
    let (verdict, ()) = tokio::join!(engine.verifier.verify(request, own), engine.fees.renew());
    let mut verdict = verdict?;
    if let Ok(Valid { transfer, next: Next::Approve(approval), .. }) = &verdict {
        verdict = match approval::carry(engine, approval, transfer.amount).await? {
            Ok(()) => engine.verifier.verify(request, own).await?,
            Err(invalid) => Err(invalid),
        };
    }
    let (Transfer { to: payee, amount, .. }, call, batchable, funds) = match verdict {
        Ok(Valid { transfer, next: Next::Send { call, batchable }, funds }) => (transfer, call, batchable, funds),
        Ok(Valid { next: Next::Approve(_), .. }) => {
            return explain(engine, Reason::Erc20ApprovalTxFailed.into(), key, request, network).await;
        }
        Err(invalid) => return explain(engine, invalid, key, request, network).await,
    };
    let settlement = Settlement { key, payee, amount, call, expected: Expected::Transfer, signer: None, batchable, funds };
    let begun = engine.submit(settlement).await?;
    *place = None;
    match begun {
        Some(entry) => join(engine, entry, request, network).await,
        None => Ok(SettleResponse::failed(network, Some(key.payer), Reason::UnexpectedSettleError)),
    }
}

/// What does not verify may have been settled before: by another request, or by somebody else who used its nonce.
async fn explain(
    engine: &Arc<Engine>,
    invalid: Invalid,
    key: Key,
    request: &PaymentRequest,
    network: Network,
) -> Result<SettleResponse, Error> {
    if let Some(entry) = engine.find(&key).await? {
        return join(engine, entry, request, network).await;
    }
    if matches!(invalid.reason, Reason::NonceAlreadyUsed | Reason::Permit2InvalidNonce)
        && let Ok(payload) = request.payment_payload.exact()
        && engine.verifier.is_vouched_for(request).await?
        && let Some(hash) = engine.settled_elsewhere(key, &Transfer::of(&payload, key.token), None).await?.transaction()
    {
        return Ok(SettleResponse::settled(network, key.payer, hash));
    }
    let failed = SettleResponse::failed(network, Some(key.payer), invalid.reason);
    Ok(SettleResponse { error_message: invalid.message, ..failed })
}

/// Waits for the end of a settlement, however many do.
async fn join(engine: &Arc<Engine>, entry: Entry, request: &PaymentRequest, network: Network) -> Result<SettleResponse, Error> {
    let (requirements, settlement) = (&request.payment_requirements, &entry.settlement);
    let payer = settlement.key.payer;
    let Ok(payload) = request.payment_payload.exact() else {
        return Ok(SettleResponse::failed(network, Some(payer), Reason::InvalidPayload));
    };
    // The payer's nonce is the key; whoever sends it with other terms is not asking for this settlement.
    let names = Names::of(payload.method());
    if settlement.call.to == PERMIT2_UPTO_PROXY {
        return Ok(SettleResponse::failed(network, Some(payer), Reason::Permit2InvalidNonce));
    }
    if requirements.pay_to_address() != Some(settlement.payee) {
        return Ok(SettleResponse::failed(network, Some(payer), names.recipient));
    }
    if requirements.amount != TokenAmount(settlement.amount) {
        return Ok(SettleResponse::failed(network, Some(payer), names.amount));
    }
    // And whoever has only seen it on chain is not who paid. This very payload, to the byte, need not be accepted by a wallet today.
    let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).ok().flatten();
    let is_same = calls_of(&payload, settlement.key.token, permit.as_ref()).contains(&settlement.call.input);
    if !is_same && !engine.verifier.is_vouched_for(request).await? {
        return Ok(SettleResponse::failed(network, Some(payer), names.signature));
    }
    let entry = engine.outcome(entry).await?;
    Ok(match entry.state {
        State::Settled(hash) => SettleResponse::settled(network, payer, hash),
        State::Failed => {
            let reason = entry.reason.as_deref().map_or(Reason::TransactionFailed, Reason::from);
            SettleResponse::failed(network, Some(payer), reason)
        }
        State::Sent | State::Again => match engine.newest_attempt(&entry).await? {
            Some(hash) => SettleResponse::pending(network, payer, hash),
            None => SettleResponse::failed(network, Some(payer), Reason::UnexpectedSettleError),
        },
    })
}
