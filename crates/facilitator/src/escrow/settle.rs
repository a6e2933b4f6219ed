//! Puts the scheme's calls on chain, each once and each by the operator: the engine journals them like every other settlement.

use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolValue;
use x402::{
    PaymentRequest, Reason, SettleResponse, TokenAmount,
    auth_capture::{AuthCapturePayload, CapturePayload, CollectPayload, PaymentInfo, VoidPayload, bound_salt},
};

use super::verify::{Asked, collect, collect_key, inner_signature, payment, read};
use crate::{
    Error,
    answer::{Answer, Failure, outcome, receipt, submit},
    channels::Judge,
    engine::Engine,
    settlement::{Call, Entry, Expected, Key, Method, Settlement},
    token::Transfer,
    verify::{Invalid, now},
};

/// What paying out, or giving back, may use.
const RELEASE_GAS_MAX: u64 = 500_000;

/// Settles a payload of the scheme, or joins whoever is settling the same.
pub(crate) async fn settle(engine: &Arc<Engine>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
    let network = request.payment_requirements.network.clone();
    let asked = match read(engine, request) {
        Ok(asked) => asked,
        Err(reason) => return Ok(SettleResponse::failed(network, None, reason)),
    };
    let payer = asked.payload.payer();
    let answer = match &asked.payload {
        AuthCapturePayload::Collect(p) => settle_collect(engine, &asked, p, request).await,
        AuthCapturePayload::Capture(p) => settle_capture(engine, &asked, p, request).await,
        AuthCapturePayload::Void(p) => settle_void(engine, &asked, p, request).await,
    };
    receipt(answer, network, Some(payer))
}

async fn settle_collect(engine: &Arc<Engine>, asked: &Asked, payload: &CollectPayload, request: &PaymentRequest) -> Answer {
    let payment = payment(asked, payload, request)?;
    let (collector, amount) = (asked.deployment.collector, payment.max_amount.0);
    let (token, payer) = (payment.token, payment.payer);
    let key = collect_key(engine, &payment, payload);
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => match collect(engine, asked, payload, request).await? {
            Ok((payment, call)) => {
                let (expected, signer) = (Expected::Transfer, Some(payment.operator));
                let settlement =
                    Settlement { key, payee: collector, amount, call, expected, signer, batchable: false, funds: None };
                submit(engine, settlement).await?
            }
            // Another request may have been first a moment ago, or another facilitator with the same key.
            Err(refusal) => match engine.find(&key).await? {
                Some(entry) => entry,
                None => {
                    let transfer = Transfer { token, from: payer, to: collector, amount };
                    let is_there = refusal.reason == Reason::AuthCaptureAlreadyCollected;
                    let hash = if is_there { engine.settled_elsewhere(key, &transfer, None).await?.transaction() } else { None };
                    let hash = hash.ok_or(Failure::Refused(refusal))?;
                    let network = request.payment_requirements.network.clone();
                    let amount = Some(TokenAmount(amount));
                    return Ok(SettleResponse { amount, ..SettleResponse::settled(network, payer, hash) });
                }
            },
        },
    };
    // The nonce is the key; whoever shows it with another signature did not make this payment.
    let signature = inner_signature(payload).map_err(|_| Failure::from(Reason::AuthCaptureSignature))?;
    if entry.settlement.call.input != payment.authorize_call(collector, signature) {
        return Err(Reason::AuthCaptureSignature.into());
    }
    moved(engine, entry, request, payment.payer, payment.max_amount).await
}

/// The payment that a server's payload is about, if it is one of the offer's.
fn check_payment(asked: &Asked, payment: &PaymentInfo, salt_nonce: B256, request: &PaymentRequest) -> Result<(), Reason> {
    if payment.operator != asked.terms.capture_authorizer {
        return Err(Reason::AuthCaptureOperatorMismatch);
    }
    if payment.salt != bound_salt(asked.authorizer, salt_nonce) {
        return Err(Reason::AuthCaptureSaltBindingMismatch);
    }
    let offered = asked.terms.payment(&request.payment_requirements, payment.payer, payment.pre_approval_expiry, payment.salt)?;
    if offered == *payment { Ok(()) } else { Err(Reason::AuthCaptureNonceMismatch) }
}

async fn settle_capture(engine: &Arc<Engine>, asked: &Asked, payload: &CapturePayload, request: &PaymentRequest) -> Answer {
    let (payment, escrow) = (&payload.payment_info, asked.deployment.escrow);
    check_payment(asked, payment, payload.salt_nonce, request)?;
    let chain_id = engine.verifier.chain_id;
    let (capture, void) = (payment.capture_hash(chain_id, escrow, payload), payment.void_hash(chain_id, escrow));
    if !engine.has_signed(asked.authorizer, capture, &payload.authorizer_signature, Judge::Strict).await? {
        return Err(Reason::AuthCaptureAuthorizerSignature.into());
    }
    if let Some(signature) = &payload.void_authorizer_signature {
        if payload.amount >= payload.expected_capturable_amount {
            return Err(Reason::AuthCaptureVoidRemainder.into());
        }
        if !engine.has_signed(asked.authorizer, void, signature, Judge::Strict).await? {
            return Err(Reason::AuthCaptureVoidAuthorizerSignature.into());
        }
    }
    // What is expected to be held is part of it: the same capture again, of what is left, is another one.
    let input = payment.capture_call(payload.amount, payload.fee_amount, payload.fee_receiver);
    let expectations = (payload.expected_capturable_amount.0, payload.expected_refundable_amount.0);
    let key = release_key(engine, payment, (escrow, input.clone(), expectations.0, expectations.1).abi_encode());
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => {
            if now() >= payment.authorization_expiry {
                return Err(Reason::AuthCaptureDeadlineExpired.into());
            }
            let held = engine.held(escrow, payment.hash(chain_id, escrow)).await?;
            match held.is_some_and(|held| (held.capturable, held.refundable) == expectations) {
                true => release(engine, key, payment, escrow, input).await?,
                // Made a moment ago by another request?
                false => match engine.find(&key).await? {
                    Some(entry) => entry,
                    // By what nobody saw the end of, as it seems: who takes that for a refusal pays twice.
                    None if engine.is_given_up(&key).await? => return Err(Reason::UnexpectedSettleError.into()),
                    None => return Err(Reason::AuthCaptureUnexpectedState.into()),
                },
            }
        }
    };
    captured(engine, entry, asked, payload, request).await
}

/// Waits for the end of a capture, then gives the rest back if that was signed for too.
async fn captured(
    engine: &Arc<Engine>,
    entry: Entry,
    asked: &Asked,
    payload: &CapturePayload,
    request: &PaymentRequest,
) -> Answer {
    let payment = &payload.payment_info;
    let captured = moved(engine, entry, request, payment.payer, payload.amount).await?;
    if !captured.success || payload.void_authorizer_signature.is_none() {
        return Ok(captured);
    }
    match void(engine, asked, payment, request).await {
        // Nothing was left: given back before.
        Err(Failure::Refused(Invalid { reason: Reason::AuthCaptureZeroAuthorization, .. })) => Ok(captured),
        Err(failure) => Err(failure),
        // Asked again, the same capture joins and the rest is tried once more.
        Ok(voided) if !voided.success && !voided.is_pending() => {
            tracing::error!(payer = %payment.payer, reason = ?voided.error_reason, "the rest of a capture was not given back");
            Ok(captured)
        }
        Ok(voided) if voided.is_pending() => Ok(voided),
        Ok(_) => Ok(captured),
    }
}

async fn settle_void(engine: &Arc<Engine>, asked: &Asked, payload: &VoidPayload, request: &PaymentRequest) -> Answer {
    let (payment, escrow) = (&payload.payment_info, asked.deployment.escrow);
    check_payment(asked, payment, payload.salt_nonce, request)?;
    let hash = payment.void_hash(engine.verifier.chain_id, escrow);
    if !engine.has_signed(asked.authorizer, hash, &payload.authorizer_signature, Judge::Strict).await? {
        return Err(Reason::AuthCaptureAuthorizerSignature.into());
    }
    void(engine, asked, payment, request).await
}

async fn void(engine: &Arc<Engine>, asked: &Asked, payment: &PaymentInfo, request: &PaymentRequest) -> Answer {
    let (escrow, input) = (asked.deployment.escrow, payment.void_call());
    let key = release_key(engine, payment, (escrow, input.clone()).abi_encode());
    let entry = match engine.find(&key).await? {
        Some(entry) => entry,
        None => release(engine, key, payment, escrow, input).await?,
    };
    moved(engine, entry, request, payment.payer, TokenAmount::ZERO).await
}

fn release_key(engine: &Engine, payment: &PaymentInfo, what: Vec<u8>) -> Key {
    let (chain_id, method) = (engine.verifier.chain_id, Method::Channel);
    Key { chain_id, method, token: payment.token, payer: payment.payer, nonce: keccak256(what) }
}

/// Sends a call of the operator's, unless another request did meanwhile.
async fn release(engine: &Arc<Engine>, key: Key, payment: &PaymentInfo, escrow: Address, input: Bytes) -> Result<Entry, Failure> {
    let call: Call = match engine.try_as(payment.operator, escrow, input, RELEASE_GAS_MAX).await? {
        Ok(call) => call,
        Err(refusal) => return engine.find(&key).await?.ok_or(Failure::Refused(refusal)),
    };
    let (expected, signer) = (Expected::Success, Some(payment.operator));
    let settlement =
        Settlement { key, payee: payment.receiver, amount: U256::ZERO, call, expected, signer, batchable: false, funds: None };
    submit(engine, settlement).await
}

/// Waits for the end; `amount` is what it moved, if it did.
async fn moved(engine: &Arc<Engine>, entry: Entry, request: &PaymentRequest, payer: Address, amount: TokenAmount) -> Answer {
    let network = &request.payment_requirements.network;
    let response = outcome(engine, entry, network, Some(payer), Reason::AuthCaptureTransactionReverted).await?;
    Ok(SettleResponse { amount: response.success.then_some(amount).or(response.amount), ..response })
}
