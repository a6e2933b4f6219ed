//! Would this payment settle now? In the order, and with the reasons, of the official SDKs.

mod explain;
mod terms;
mod trial;

use alloy::{
    primitives::{Address, U256},
    providers::DynProvider,
};
use x402::{
    Eip2612Permit, Eip3009Authorization, ExactPayload, PaymentRequest, Reason, Scheme, Token, TokenDomain,
    auth_capture::Deployment,
};

pub(crate) use self::{
    terms::{Names, VALIDITY_MIN_SECONDS, now},
    trial::{SETTLE_GAS_MAX, is_magic},
};
use self::{
    terms::{check_payee, check_price, check_terms, permit_of},
    trial::{Payer, Payment, Trial},
};
use crate::{
    Error,
    approval::{Approval, Sponsor},
    channels::Channels,
    lens::{Holding, Lens},
    owed::Owed,
    settlement::Call,
    token::Transfer,
};

/// A payment that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Valid {
    pub(crate) transfer: Transfer,
    pub(crate) next: Next,
    /// What the payer has, if it was asked.
    pub(crate) funds: Option<U256>,
}

/// What is to be done with it.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Settle it.
    Send {
        /// Of the token, the Permit2 proxy, or Multicall3 when the payer's wallet must be deployed first.
        call: Call,
        /// Whether nothing but the token's own code runs in the call, so that it may share a transaction with others.
        batchable: bool,
    },
    /// Only the allowance is missing, and the payer's approval came along: carry it, and verify once more.
    Approve(Approval),
}

/// What a payer without gas brings along to let Permit2 take its money.
#[derive(Default)]
pub(crate) struct Allowance {
    pub(crate) permit: Option<Eip2612Permit>,
    pub(crate) approval: Option<Approval>,
}

/// Why not.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) reason: Reason,
    pub(crate) message: Option<String>,
}

impl Invalid {
    /// The payer's money does not cover it beside the payments of his that are under way.
    pub(crate) fn owes() -> Self {
        Self { reason: Reason::InsufficientBalance, message: Some(Error::Owes.to_string()) }
    }
}

impl From<Reason> for Invalid {
    fn from(reason: Reason) -> Self {
        Self { reason, message: None }
    }
}

/// The outer result is the node's, the inner one the payment's.
pub(crate) type Verdict = Result<Result<Valid, Invalid>, Error>;

pub(crate) struct Verifier {
    pub(crate) provider: DynProvider,
    pub(crate) lens: Lens,
    pub(crate) chain_id: u64,
    pub(crate) factories: Vec<Address>,
    pub(crate) channels: Channels,
    /// Without one the scheme `auth-capture` is not served.
    pub(crate) escrow: Option<Deployment>,
    /// Smallest payment that is settled, in base units.
    pub(crate) min_payment: U256,
    /// Without one no approvals are carried.
    pub(crate) sponsor: Option<Sponsor>,
    /// What payers owe by what is under way.
    pub(crate) owed: Owed,
}

impl Verifier {
    /// Whether the payment would settle now, for a caller who does not settle it. For the usual payment, by a key and of Circle's USDC, the
    /// token's state tells as much as a trial, and for much less; every other one, and whatever state cannot clear, is tried. `own` is what
    /// the payment itself draws, if it is under way.
    pub(crate) async fn judge(&self, request: &PaymentRequest, own: U256) -> Result<Result<Address, Invalid>, Error> {
        if let Some(holding) = self.usual(request, own)
            && let payer = holding.payer
            && self.lens.suffices(holding).await?
        {
            return Ok(Ok(payer));
        }
        match self.verify(request, own).await {
            Ok(verdict) => Ok(verdict.map(|valid| valid.transfer.from)),
            Err(Error::Owes) => Ok(Err(Invalid::owes())),
            Err(error) => Err(error),
        }
    }

    /// What the payer of a payment must have, if it is a usual one with nothing wrong about it that can be seen without the chain.
    fn usual(&self, request: &PaymentRequest, own: U256) -> Option<Holding> {
        let payment = self.read(request).ok()?;
        let ExactPayload::Eip3009(payload) = &payment.payload else { return None };
        let asked = &request.payment_requirements;
        let is_usdc = Token::usdc(&asked.network).ok()?.domain() == TokenDomain::of(asked);
        let Eip3009Authorization { from: payer, to: payee, value, nonce, .. } = payload.authorization;
        if !is_usdc
            || payee.is_zero()
            || value.0 < self.min_payment
            || check_terms(&payment, request).is_err()
            || !payment.is_signed_by_key()
        {
            return None;
        }
        let amount = value.0.saturating_add(self.owed.by(payment.token, payer).saturating_sub(own));
        Some(Holding { token: payment.token, payer, payee, nonce, amount })
    }

    /// The same by trying it: also tells how to settle it.
    ///
    /// # Errors
    /// [`Error::Owes`] when it would settle but for what the payer owes by other payments that are under way.
    pub(crate) async fn verify(&self, request: &PaymentRequest, own: U256) -> Verdict {
        let payment = match self.read(request) {
            Ok(payment) => payment,
            Err(reason) => return Ok(Err(reason.into())),
        };
        // The official order: Permit2's terms before its signature, an authorization's after.
        let terms = check_terms(&payment, request).and_then(|()| match &payment.payload {
            ExactPayload::Eip3009(_) => Ok(Allowance::default()),
            ExactPayload::Permit2(p) => self.allowance(p.permit2_authorization.from, payment.token, request),
        });
        if let (ExactPayload::Permit2(_), Err(reason)) = (&payment.payload, &terms) {
            return Ok(Err(reason.clone().into()));
        }
        let permit = terms.as_ref().ok().and_then(|allowance| allowance.permit.as_ref());
        // As it is before the chain is asked: what ends in between is counted once more, not once less.
        let owed = self.owed.by(payment.token, payment.payload.payer()).saturating_sub(own);
        let trial = match self.try_out(payment, permit, !owed.is_zero()).await? {
            Ok(trial) => trial,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let allowance = match terms {
            Err(reason) => return Ok(Err(reason.into())),
            Ok(_) if !trial.settled.tokenHasCode => return Ok(Err(Reason::AssetNotDeployed.into())),
            // A call of what is not there succeeds.
            Ok(_) if !trial.settled.targetHasCode => return Ok(Err(Reason::Permit2ProxyNotDeployed.into())),
            Ok(allowance) => allowance,
        };
        let transfer = trial.transfer();
        match self.check_minimum(transfer.amount) {
            Err(invalid) => Ok(Err(invalid)),
            Ok(()) if trial.settled.succeeded => match trial.funds {
                Some(funds) if owed.saturating_add(transfer.amount) > funds => Err(Error::Owes),
                _ => Ok(Ok(trial.valid())),
            },
            Ok(()) => self.or_approve(self.explain(&trial, request).await?, allowance.approval, transfer).await,
        }
    }

    /// A payment that lacks nothing but an allowance is valid when the payer's approval came along, and can be carried.
    pub(crate) async fn or_approve(&self, invalid: Invalid, approval: Option<Approval>, transfer: Transfer) -> Verdict {
        let Some(approval) = approval.filter(|_| invalid.reason == Reason::Permit2AllowanceRequired) else {
            return Ok(Err(invalid));
        };
        let checked = self.check_approval(&approval, transfer.amount).await?;
        Ok(checked.map(|_| Valid { transfer, next: Next::Approve(approval), funds: None }))
    }

    /// What came along to let Permit2 take the money. A permit goes first: it needs no transaction of its own.
    pub(crate) fn allowance(&self, payer: Address, token: Address, request: &PaymentRequest) -> Result<Allowance, Reason> {
        let permit = permit_of(payer, token, request)?;
        let approval = if permit.is_none() { self.approval_of(payer, token, request)? } else { None };
        Ok(Allowance { permit, approval })
    }

    /// Whether a payment is worth its gas, by the operator's rule.
    pub(crate) fn check_minimum(&self, amount: U256) -> Result<(), Invalid> {
        self.check_least(amount, U256::ZERO)
    }

    /// The same where it must not be less than `least` either.
    pub(crate) fn check_least(&self, amount: U256, least: U256) -> Result<(), Invalid> {
        let least = least.max(self.min_payment);
        if amount >= least {
            return Ok(());
        }
        let message = Some(format!("at least {least}"));
        Err(Invalid { reason: Reason::PaymentBelowMinimum, message })
    }

    /// Whether the payer's signature holds now, for what the seller asks. Not for a wallet that is not there yet: it can say nothing.
    pub(crate) async fn is_vouched_for(&self, request: &PaymentRequest) -> Result<bool, Error> {
        let Ok(payment) = self.read(request) else { return Ok(false) };
        if check_payee(&payment, request).and_then(|()| check_price(&payment, request)).is_err() {
            return Ok(false);
        }
        Ok(self.try_out(payment, None, false).await?.is_ok_and(|trial| trial.payer != Payer::Undeployed))
    }

    /// The payment, when it is of a kind that is settled here.
    fn read(&self, request: &PaymentRequest) -> Result<Payment, Reason> {
        let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
        match (Scheme::of(requirements), Scheme::of(accepted)) {
            (Some(Scheme::Exact), Some(Scheme::Exact)) => {}
            _ => return Err(Reason::InvalidScheme),
        }
        if requirements.network.chain_id() != Some(self.chain_id) {
            return Err(Reason::InvalidNetwork);
        }
        let token = requirements.asset_address().ok_or(Reason::InvalidPaymentRequirements)?;
        let payload = request.payment_payload.exact().map_err(|_| Reason::InvalidPayload)?;
        let hash = match &payload {
            ExactPayload::Eip3009(p) => {
                let domain = TokenDomain::of(requirements).ok_or(Reason::MissingEip712Domain)?;
                p.authorization.signing_hash(&domain)
            }
            ExactPayload::Permit2(p) => p.permit2_authorization.signing_hash(self.chain_id),
        };
        if accepted.network != requirements.network {
            return Err(Reason::NetworkMismatch);
        }
        Ok(Payment { payload, token, hash })
    }
}
