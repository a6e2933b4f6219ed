//! Scheme `upto`: settles what the server charges of the maximum a payer signed, by the signer the payer named.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use x402::{
    Eip2612Permit, Network, PERMIT2_UPTO_PROXY, PaymentRequest, Reason, Scheme, SettleResponse, TokenAmount, UptoPayload,
    recover_permit2,
};

use crate::{
    Error, approval,
    engine::Engine,
    lens::Question,
    permit2,
    settlement::{Call, Entry, Expected, Key, Method, Settlement, State},
    token::{IWallet, Transfer},
    verify::{Allowance, Invalid, Next, SETTLE_GAS_MAX, VALIDITY_MIN_SECONDS, Valid, Verdict, is_magic, now},
};

/// A payment of this scheme, and what is charged of it.
struct Payment {
    payload: UptoPayload,
    transfer: Transfer,
    hash: B256,
}

/// Would this payment settle now, were all of it charged?
pub(crate) async fn verify(engine: &Engine, request: &PaymentRequest) -> Verdict {
    let payment = match read(engine, request) {
        Ok(payment) => payment,
        Err(reason) => return Ok(Err(reason.into())),
    };
    let maximum = payment.payload.permit2_authorization.permitted.amount;
    if maximum != request.payment_requirements.amount {
        return Ok(Err(Reason::Permit2AmountMismatch.into()));
    }
    if let Err(invalid) = engine.verifier.check_minimum(maximum.0) {
        return Ok(Err(invalid));
    }
    let (key, payee) = (key_of(engine, &payment), payment.transfer.to);
    let verdict = try_out(engine, payment, request).await?;
    if verdict.is_ok() && engine.is_taken(&key, payee, |under_way| under_way <= maximum.0) {
        return Ok(Err(Reason::Permit2InvalidNonce.into()));
    }
    if verdict.is_ok() && !engine.covers(&key, maximum.0).await? {
        return Ok(Err(Invalid::owes()));
    }
    Ok(verdict)
}

fn key_of(engine: &Engine, payment: &Payment) -> Key {
    let Transfer { token, from: payer, .. } = payment.transfer;
    let nonce = payment.payload.permit2_authorization.nonce.0.into();
    Key { chain_id: engine.verifier.chain_id, method: Method::Permit2, token, payer, nonce }
}

/// Settles what the requirements charge, or joins whoever is settling it.
pub(crate) async fn settle(engine: &Arc<Engine>, request: &PaymentRequest) -> Result<SettleResponse, Error> {
    let network = request.payment_requirements.network.clone();
    let payment = match read_terms(engine, request) {
        Ok(payment) => payment,
        Err(reason) => return Ok(SettleResponse::failed(network, payer_of(request), reason)),
    };
    let Payment { payload, transfer, .. } = &payment;
    let (permit, from) = (&payload.permit2_authorization, transfer.from);
    let (key, signer) = (key_of(engine, &payment), Some(permit.witness.facilitator));
    if let Some(entry) = engine.find(&key).await? {
        return join(engine, entry, payment, request).await;
    }
    if let Err(reason) = check_terms(engine, &payment, request) {
        return Ok(SettleResponse::failed(network, Some(from), reason));
    }
    if transfer.amount > permit.permitted.amount.0 {
        return Ok(SettleResponse::failed(network, Some(from), Reason::UptoSettlementExceedsAmount));
    }
    // Not what is charged: who verified the maximum has served, whatever the work came to.
    if let Err(Invalid { reason, message }) = engine.verifier.check_minimum(permit.permitted.amount.0) {
        return Ok(SettleResponse { error_message: message, ..SettleResponse::failed(network, Some(from), reason) });
    }
    let amount = TokenAmount(transfer.amount);
    let mut verdict = try_out(engine, payment, request).await?;
    if let Ok(Valid { transfer, next: Next::Approve(approval), .. }) = &verdict {
        verdict = match (approval::carry(engine, approval, transfer.amount).await?, read_terms(engine, request)) {
            (Err(invalid), _) => Err(invalid),
            (Ok(()), Ok(payment)) => try_out(engine, payment, request).await?,
            (Ok(()), Err(reason)) => Err(reason.into()),
        };
    }
    let verdict = verdict.and_then(|Valid { transfer, next, .. }| match next {
        Next::Send { call, .. } => Ok((transfer, call)),
        Next::Approve(_) => Err(Reason::Erc20ApprovalTxFailed.into()),
    });
    let (transfer, call) = match verdict {
        Ok(ready) => ready,
        Err(Invalid { reason, message }) => {
            // Another request may have been first, a moment ago.
            let first = if reason == Reason::Permit2InvalidNonce { engine.find(&key).await? } else { None };
            if let (Some(entry), Ok(payment)) = (first, read_terms(engine, request)) {
                return join(engine, entry, payment, request).await;
            }
            let failed = SettleResponse::failed(network, Some(from), reason);
            return Ok(SettleResponse { error_message: message, ..failed });
        }
    };
    if amount.is_zero() {
        return Ok(SettleResponse::nothing_due(network, from));
    }
    let Transfer { to: payee, amount, .. } = transfer;
    let settlement = Settlement { key, payee, amount, call, expected: Expected::Transfer, signer, batchable: false, funds: None };
    match (engine.submit(settlement).await?, read_terms(engine, request)) {
        (Some(entry), Ok(payment)) => join(engine, entry, payment, request).await,
        _ => Ok(SettleResponse::failed(network, Some(from), Reason::UnexpectedSettleError)),
    }
}

/// Waits for the end of a settlement, for whoever shows the payment and charges the same.
async fn join(engine: &Arc<Engine>, entry: Entry, payment: Payment, request: &PaymentRequest) -> Result<SettleResponse, Error> {
    let (network, payer) = (request.payment_requirements.network.clone(), payment.transfer.from);
    let refuse = |reason| Ok(SettleResponse::failed(network.clone(), Some(payer), reason));
    if entry.settlement.call.to != PERMIT2_UPTO_PROXY {
        return refuse(Reason::Permit2InvalidNonce);
    }
    if entry.settlement.payee != payment.transfer.to {
        return refuse(Reason::Permit2RecipientMismatch);
    }
    if entry.settlement.amount != payment.transfer.amount {
        return refuse(Reason::Permit2AmountMismatch);
    }
    let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).ok().flatten();
    let is_same = permit2::upto_call(&payment.payload, payment.transfer.amount, permit.as_ref()) == entry.settlement.call.input;
    if !is_same && !is_signed(engine, &payment).await?.by_payer {
        return refuse(Reason::Permit2Signature);
    }
    let entry = engine.outcome(entry).await?;
    let amount = Some(TokenAmount(entry.settlement.amount));
    Ok(match entry.state {
        State::Settled(hash) => SettleResponse { amount, ..SettleResponse::settled(network, payer, hash) },
        State::Failed => {
            let reason = entry.reason.as_deref().map_or(Reason::TransactionFailed, Reason::from);
            let reason = if reason == Reason::TransactionFailed { Reason::UptoTransactionFailed } else { reason };
            SettleResponse::failed(network, Some(payer), reason)
        }
        State::Sent | State::Again => match engine.newest_attempt(&entry).await? {
            Some(hash) => SettleResponse::pending(network, payer, hash),
            None => SettleResponse::failed(network, Some(payer), Reason::UnexpectedSettleError),
        },
    })
}

fn payer_of(request: &PaymentRequest) -> Option<Address> {
    request.payment_payload.upto().ok().map(|payload| payload.permit2_authorization.from)
}

/// The payment, when it is one that can be settled now: in the official order.
fn read(engine: &Engine, request: &PaymentRequest) -> Result<Payment, Reason> {
    let payment = read_terms(engine, request)?;
    check_terms(engine, &payment, request)?;
    Ok(payment)
}

fn read_terms(engine: &Engine, request: &PaymentRequest) -> Result<Payment, Reason> {
    let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
    let payload = request.payment_payload.upto().map_err(|_| Reason::UnsupportedPayloadType)?;
    if Scheme::of(requirements) != Some(Scheme::Upto) || Scheme::of(accepted) != Some(Scheme::Upto) {
        return Err(Reason::UptoScheme);
    }
    if accepted.network != requirements.network {
        return Err(Reason::UptoNetworkMismatch);
    }
    if requirements.network.chain_id() != Some(engine.verifier.chain_id) {
        return Err(Reason::InvalidNetwork);
    }
    let token = requirements.asset_address().ok_or(Reason::InvalidPaymentRequirements)?;
    let (from, to) = (payload.permit2_authorization.from, payload.permit2_authorization.witness.to);
    let hash = payload.permit2_authorization.signing_hash(engine.verifier.chain_id);
    let transfer = Transfer { token, from, to, amount: requirements.amount.0 };
    Ok(Payment { payload, transfer, hash })
}

fn check_terms(engine: &Engine, payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
    let (permit, now) = (&payment.payload.permit2_authorization, U256::from(now()));
    let payee = request.payment_requirements.pay_to_address().ok_or(Reason::InvalidPaymentRequirements)?;
    let terms = [
        (permit.spender == PERMIT2_UPTO_PROXY, Reason::Permit2Spender),
        (permit.witness.to == payee, Reason::Permit2RecipientMismatch),
        (engine.is_signer(permit.witness.facilitator), Reason::UptoFacilitatorMismatch),
        (permit.deadline.0 >= now + U256::from(VALIDITY_MIN_SECONDS), Reason::Permit2DeadlineExpired),
        (permit.witness.valid_after.0 <= now, Reason::Permit2NotYetValid),
        (permit.permitted.token == payment.transfer.token, Reason::Permit2TokenMismatch),
    ];
    terms.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, reason)| Err(reason))
}

struct Signed {
    by_payer: bool,
    token_exists: bool,
    proxy_exists: bool,
}

/// As Permit2 judges on chain: an account with code is asked, whatever its key signed.
async fn is_signed(engine: &Engine, payment: &Payment) -> Result<Signed, Error> {
    let Transfer { token, from, .. } = payment.transfer;
    let signature = payment.payload.signature.clone();
    let by_key = recover_permit2(payment.hash, &signature) == Some(from);
    let question = IWallet::isValidSignatureCall { hash: payment.hash, signature }.abi_encode();
    // The proxy is only looked at for code.
    let of_proxy = Call::new(PERMIT2_UPTO_PROXY, Bytes::new(), 0);
    let of_payer = Call::new(from, question, SETTLE_GAS_MAX);
    let questions = [of_proxy, of_payer].map(|call| Question::new(from, token, &call));
    let answers = engine.verifier.lens.ask(questions.into()).await?;
    let [of_proxy, of_payer] = answers.as_slice() else {
        return Ok(Signed { by_payer: false, token_exists: false, proxy_exists: false });
    };
    let by_payer = if of_payer.payerHasCode { is_magic(of_payer) } else { by_key };
    Ok(Signed { by_payer, token_exists: of_proxy.tokenHasCode, proxy_exists: of_proxy.targetHasCode })
}

/// Judges the signature and tries the settlement as the signer that will send it: the proxy accepts no other.
async fn try_out(engine: &Engine, payment: Payment, request: &PaymentRequest) -> Verdict {
    let Transfer { token, from, amount, .. } = payment.transfer;
    let Allowance { permit, approval } = match engine.verifier.allowance(from, token, request) {
        Ok(allowance) => allowance,
        Err(reason) => return Ok(Err(reason.into())),
    };
    let input = permit2::upto_call(&payment.payload, amount, permit.as_ref());
    let facilitator = payment.payload.permit2_authorization.witness.facilitator;
    let trial = TransactionRequest::default().from(facilitator).to(PERMIT2_UPTO_PROXY).input(input.clone().into());
    let trial = TransactionRequest { gas: Some(SETTLE_GAS_MAX), ..trial };
    let (signed, trial) = tokio::join!(is_signed(engine, &payment), engine.verifier.provider.estimate_gas(trial).into_future());
    let signed = signed?;
    let flaws = [
        (signed.token_exists, Reason::AssetNotDeployed),
        (signed.by_payer, Reason::Permit2Signature),
        (signed.proxy_exists, Reason::Permit2ProxyNotDeployed),
    ];
    if let Some((_, reason)) = flaws.into_iter().find(|(holds, _)| !holds) {
        return Ok(Err(reason.into()));
    }
    let transfer = payment.transfer;
    let valid = |gas| Valid {
        transfer,
        next: Next::Send { call: Call::new(PERMIT2_UPTO_PROXY, input, gas), batchable: false },
        funds: None,
    };
    match trial {
        // A payer's contract may use more in the block than now.
        Ok(gas) => Ok(Ok(valid((gas + gas / 4).min(SETTLE_GAS_MAX)))),
        // The proxy refuses to move nothing, and then nothing is sent.
        Err(error) if error.is_error_resp() && amount.is_zero() => Ok(Ok(valid(0))),
        Err(error) => {
            let Some(response) = error.as_error_resp() else { return Err(error.into()) };
            let message = Some(response.message.to_string());
            let told = permit2::reason_of(&response.as_revert_data().unwrap_or_default());
            let reason = match told {
                Some(reason) => reason,
                None => {
                    let nonce = payment.payload.permit2_authorization.nonce.0;
                    engine.verifier.diagnose_permit2(&payment.transfer, nonce).await?
                }
            };
            engine.verifier.or_approve(Invalid { reason, message }, approval, transfer).await
        }
    }
}

/// The kind of this scheme in `/supported`: each caller is given the next signer.
pub(crate) fn kind(engine: &Engine, network: &Network) -> x402::SupportedKind {
    let (scheme, network) = (Scheme::Upto.as_str().to_owned(), network.to_string());
    x402::SupportedKind { x402_version: 2, scheme, network, extra: Some(x402::upto_extra(engine.next_signer())) }
}
