//! Whether a payment is what the seller asked for, as far as that can be seen without the chain.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, U256};
use x402::{Eip2612Permit, ExactPayload, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequest, Reason, TransferMethod};

use super::Payment;
use crate::token::Transfer;

/// An authorization must last this much longer, or it could expire on its way into a block.
pub(crate) const VALIDITY_MIN_SECONDS: u64 = 6;

/// What the official SDKs call the same flaw of either method.
pub(crate) struct Names {
    pub(crate) recipient: Reason,
    pub(crate) amount: Reason,
    pub(crate) too_late: Reason,
    pub(crate) too_early: Reason,
    pub(crate) signature: Reason,
    pub(crate) nonce: Reason,
}

impl Names {
    pub(crate) fn of(method: TransferMethod) -> Self {
        match method {
            TransferMethod::Eip3009 => Self {
                recipient: Reason::RecipientMismatch,
                amount: Reason::ValueMismatch,
                too_late: Reason::ValidBefore,
                too_early: Reason::ValidAfter,
                signature: Reason::InvalidSignature,
                nonce: Reason::NonceAlreadyUsed,
            },
            TransferMethod::Permit2 => Self {
                recipient: Reason::Permit2RecipientMismatch,
                amount: Reason::Permit2AmountMismatch,
                too_late: Reason::Permit2DeadlineExpired,
                too_early: Reason::Permit2NotYetValid,
                signature: Reason::Permit2Signature,
                nonce: Reason::Permit2InvalidNonce,
            },
        }
    }
}

/// Whether the payment is what the seller asked for, and can still be settled: in the official order.
pub(super) fn check_terms(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
    check_payee(payment, request)?;
    let now = U256::from(now());
    let names = Names::of(payment.payload.method());
    let (until, from) = match &payment.payload {
        ExactPayload::Eip3009(p) => (p.authorization.valid_before, p.authorization.valid_after),
        ExactPayload::Permit2(p) => (p.permit2_authorization.deadline, p.permit2_authorization.witness.valid_after),
    };
    if until.0 < now + U256::from(VALIDITY_MIN_SECONDS) {
        return Err(names.too_late);
    }
    if from.0 > now {
        return Err(names.too_early);
    }
    check_price(payment, request)
}

/// Whether the seller is paid, and nobody else can take the money.
pub(super) fn check_payee(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
    let Payment { payload, token, .. } = payment;
    if let ExactPayload::Permit2(p) = payload
        && p.permit2_authorization.spender != PERMIT2_EXACT_PROXY
    {
        return Err(Reason::Permit2Spender);
    }
    match request.payment_requirements.pay_to_address() {
        None => Err(Reason::InvalidPaymentRequirements),
        Some(payee) if payee != Transfer::of(payload, *token).to => Err(Names::of(payload.method()).recipient),
        Some(_) => Ok(()),
    }
}

/// Whether it pays what was asked for.
pub(super) fn check_price(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
    let Payment { payload, token, .. } = payment;
    if Transfer::of(payload, *token).amount != request.payment_requirements.amount.0 {
        return Err(Names::of(payload.method()).amount);
    }
    match payload {
        ExactPayload::Permit2(p) if p.permit2_authorization.permitted.token != *token => Err(Reason::Permit2TokenMismatch),
        _ => Ok(()),
    }
}

/// The permit for Permit2 that came along.
pub(super) fn permit_of(payer: Address, token: Address, request: &PaymentRequest) -> Result<Option<Eip2612Permit>, Reason> {
    let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).map_err(|_| Reason::Eip2612Format)?;
    let Some(permit) = permit else { return Ok(None) };
    if permit.from != payer {
        return Err(Reason::Eip2612FromMismatch);
    }
    if permit.asset != token {
        return Err(Reason::Eip2612AssetMismatch);
    }
    if permit.spender != PERMIT2 {
        return Err(Reason::Eip2612SpenderNotPermit2);
    }
    if permit.deadline.0 < U256::from(now() + VALIDITY_MIN_SECONDS) {
        return Err(Reason::Eip2612DeadlineExpired);
    }
    Ok(Some(permit))
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
