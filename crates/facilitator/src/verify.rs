//! Would this payment settle now? In the order, and with the reasons, of the official SDKs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use x402::{
    Eip2612Permit, Eip3009Authorization, Erc6492Signature, ExactPayload, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequest, Reason,
    Scheme, TokenDomain, TransferMethod, recover_permit2, recover_strict,
};

use crate::{
    Error, permit2,
    settlement::{Call, Key, Method},
    token::{IToken, IWallet, MULTICALL3, Transfer, deploy_and_settle, settlement},
};

/// An authorization must last this much longer, or it could expire on its way into a block.
const VALIDITY_MIN_SECONDS: u64 = 6;
/// What a settlement may use: more is an attack on the signer's purse by a payer's contract.
const SETTLE_GAS_MAX: u64 = 1_000_000;
/// The same when the payer's wallet is deployed on the way.
const DEPLOY_GAS_MAX: u64 = 3_000_000;

/// A payment that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Valid {
    pub(crate) transfer: Transfer,
    /// Of the token, the Permit2 proxy, or Multicall3 when the payer's wallet must be deployed first.
    pub(crate) call: Call,
}

/// A payment of a kind that is settled here.
struct Payment {
    payload: ExactPayload,
    token: Address,
    /// What the payer signed.
    hash: B256,
}

/// A payment whose signature was judged.
struct Judged {
    /// With the wallet's own signature, taken out of its wrapping.
    payment: Payment,
    /// How the payer's wallet comes to be, when it is not there yet. Then only the simulation tells whether it accepts the signature.
    deploy: Option<Erc6492Signature>,
    token_exists: bool,
}

/// What the official SDKs call the same flaw of either method.
pub(crate) struct Names {
    pub(crate) recipient: Reason,
    pub(crate) amount: Reason,
    pub(crate) too_late: Reason,
    pub(crate) too_early: Reason,
    pub(crate) signature: Reason,
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
            },
            TransferMethod::Permit2 => Self {
                recipient: Reason::Permit2RecipientMismatch,
                amount: Reason::Permit2AmountMismatch,
                too_late: Reason::Permit2DeadlineExpired,
                too_early: Reason::Permit2NotYetValid,
                signature: Reason::Permit2Signature,
            },
        }
    }
}

/// Why not.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) reason: Reason,
    pub(crate) message: Option<String>,
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
    pub(crate) chain_id: u64,
    pub(crate) factories: Vec<Address>,
    /// Any funded signer: who simulates as the sender.
    pub(crate) sender: Address,
    /// Contracts do not go away, so it is looked for until it is seen.
    pub(crate) proxy_seen: AtomicBool,
}

impl Verifier {
    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Verdict {
        let payment = match self.read(request) {
            Ok(payment) => payment,
            Err(reason) => return Ok(Err(reason.into())),
        };
        // The official order: Permit2's terms before its signature, an authorization's after.
        let terms = check_terms(&payment, request).and_then(|()| permit_of(&payment, request));
        if let (ExactPayload::Permit2(_), Err(reason)) = (&payment.payload, &terms) {
            return Ok(Err(reason.clone().into()));
        }
        let judged = match self.judge(payment).await? {
            Ok(judged) => judged,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let permit = match terms {
            Ok(_) if !judged.token_exists => return Ok(Err(Reason::AssetNotDeployed.into())),
            Ok(permit) => permit,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let Judged { payment, deploy, .. } = judged;
        let (to, call) = settlement(&payment.payload, payment.token, permit.as_ref());
        let call = match deploy {
            None => Call { to, input: call, gas: SETTLE_GAS_MAX },
            Some(wrapped) => Call { to: MULTICALL3, input: deploy_and_settle(wrapped, to, call), gas: DEPLOY_GAS_MAX },
        };
        let transfer = Transfer::of(&payment.payload, payment.token);
        self.simulate(Valid { transfer, call }, &payment, request).await
    }

    /// Whether the payer signed, as far as that can be told without a simulation: for a wallet that is still to be deployed, whether we would.
    async fn judge(&self, mut payment: Payment) -> Result<Result<Judged, Reason>, Error> {
        let Ok(deploy) = Erc6492Signature::parse(payment.payload.signature()) else {
            return Ok(Err(Reason::FailedToParseSignature));
        };
        let (payer_code, token_code) = tokio::try_join!(
            self.provider.get_code_at(payment.payload.payer()).into_future(),
            self.provider.get_code_at(payment.token).into_future()
        )?;
        if let Some(wrapped) = &deploy {
            payment.payload = payment.payload.with_signature(wrapped.inner.clone());
        }
        let deploy = deploy.filter(|_| payer_code.is_empty());
        match &deploy {
            Some(wrapped) if !self.factories.contains(&wrapped.factory) => Ok(Err(Reason::FactoryNotAllowed)),
            None if !self.is_signed(&payment, !payer_code.is_empty()).await? => {
                Ok(Err(Names::of(payment.payload.method()).signature))
            }
            _ => Ok(Ok(Judged { payment, deploy, token_exists: !token_code.is_empty() })),
        }
    }

    /// Whether the payer's signature holds now, for what the seller asks. Not for a wallet that is not there yet: it can say nothing.
    pub(crate) async fn is_vouched_for(&self, request: &PaymentRequest) -> Result<bool, Error> {
        let Ok(payment) = self.read(request) else { return Ok(false) };
        if check_payee(&payment, request).and_then(|()| check_price(&payment, request)).is_err() {
            return Ok(false);
        }
        Ok(self.judge(payment).await?.is_ok_and(|judged| judged.deploy.is_none()))
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

    /// As the token, or Permit2, judges on chain: an account with code is asked, whatever its key signed.
    async fn is_signed(&self, payment: &Payment, has_code: bool) -> Result<bool, Error> {
        let Payment { payload, hash, .. } = payment;
        if !has_code {
            let signer = match payload {
                ExactPayload::Eip3009(p) => recover_strict(*hash, &p.signature),
                ExactPayload::Permit2(p) => recover_permit2(*hash, &p.signature),
            };
            return Ok(signer == Some(payload.payer()));
        }
        let question = IWallet::isValidSignatureCall { hash: *hash, signature: payload.signature().clone() };
        let request = TransactionRequest::default().to(payload.payer()).input(question.abi_encode().into());
        let request = TransactionRequest { gas: Some(SETTLE_GAS_MAX), ..request };
        let magic = IWallet::isValidSignatureCall::SELECTOR;
        match self.provider.call(request).await {
            Ok(answer) => Ok(answer.len() >= 32 && answer[..4] == magic && answer[4..32].iter().all(|b| *b == 0)),
            // The wallet reverted.
            Err(error) if error.is_error_resp() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs the settlement against the newest state, which also tells its gas.
    async fn simulate(&self, mut valid: Valid, payment: &Payment, asked: &PaymentRequest) -> Verdict {
        // A call of what is not there succeeds.
        if payment.payload.method() == TransferMethod::Permit2 && !self.has_proxy().await? {
            return Ok(Err(Reason::Permit2ProxyNotDeployed.into()));
        }
        let request = TransactionRequest::default().from(self.sender).to(valid.call.to).input(valid.call.input.clone().into());
        let request = TransactionRequest { gas: Some(valid.call.gas), ..request };
        match self.provider.estimate_gas(request).await {
            // A payer's contract may use more in the block than now.
            Ok(gas) => {
                valid.call.gas = (gas + gas / 4).min(valid.call.gas);
                Ok(Ok(valid))
            }
            Err(error) if error.is_error_resp() => {
                let response = error.as_error_resp();
                let message = response.map(|response| response.message.to_string());
                let revert = response.and_then(|response| response.as_revert_data()).unwrap_or_default();
                let reason = match &payment.payload {
                    ExactPayload::Eip3009(p) => self.diagnose(&p.authorization, asked).await,
                    ExactPayload::Permit2(_) => self.diagnose_permit2(&valid.transfer, payment, &revert).await?,
                };
                Ok(Err(Invalid { reason, message }))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_proxy(&self) -> Result<bool, Error> {
        if !self.proxy_seen.load(Ordering::Relaxed) {
            let code = self.provider.get_code_at(PERMIT2_EXACT_PROXY).await?;
            self.proxy_seen.store(!code.is_empty(), Ordering::Relaxed);
        }
        Ok(self.proxy_seen.load(Ordering::Relaxed))
    }

    /// What of the chain's state explains a refusal.
    async fn diagnose(&self, authorization: &Eip3009Authorization, asked: &PaymentRequest) -> Reason {
        let Some(domain) = TokenDomain::of(&asked.payment_requirements) else { return Reason::MissingEip712Domain };
        let state = IToken::authorizationStateCall { authorizer: authorization.from, nonce: authorization.nonce };
        let balance = IToken::balanceOfCall { account: authorization.from };
        let (name, version, used, balance) = tokio::join!(
            self.ask(domain.asset, IToken::nameCall {}),
            self.ask(domain.asset, IToken::versionCall {}),
            self.ask(domain.asset, state),
            self.ask(domain.asset, balance)
        );
        match (used, name, version, balance) {
            (None, ..) => Reason::Eip3009NotSupported,
            (Some(true), ..) => Reason::NonceAlreadyUsed,
            (_, Some(name), ..) if name != domain.name => Reason::TokenNameMismatch,
            (_, _, Some(version), _) if version != domain.version => Reason::TokenVersionMismatch,
            (.., Some(balance)) if balance < authorization.value.0 => Reason::InsufficientBalance,
            _ => Reason::SimulationFailed,
        }
    }

    /// What the chain said, or what of its state explains it.
    async fn diagnose_permit2(&self, transfer: &Transfer, payment: &Payment, revert: &[u8]) -> Result<Reason, Error> {
        if let Some(reason) = permit2::reason_of(revert) {
            return Ok(reason);
        }
        let balance = IToken::balanceOfCall { account: transfer.from };
        let allowance = IToken::allowanceCall { owner: transfer.from, spender: PERMIT2 };
        let (used, balance, allowance) = tokio::join!(
            self.is_permit2_used(transfer.from, payment.payload.nonce().into()),
            self.ask(transfer.token, balance),
            self.ask(transfer.token, allowance)
        );
        Ok(match (used?, balance, allowance) {
            (true, ..) => Reason::Permit2InvalidNonce,
            (_, Some(balance), _) if balance < transfer.amount => Reason::Permit2InsufficientBalance,
            (.., Some(allowance)) if allowance < transfer.amount => Reason::Permit2AllowanceRequired,
            _ => Reason::Permit2SimulationFailed,
        })
    }

    async fn ask<C: SolCall>(&self, token: Address, call: C) -> Option<C::Return> {
        let request = TransactionRequest::default().to(token).input(call.abi_encode().into());
        let answer = self.provider.call(request).await.ok()?;
        C::abi_decode_returns(&answer).ok()
    }

    /// Whether the token, or Permit2, has burnt the payment's nonce.
    pub(crate) async fn is_used(&self, key: &Key) -> Result<bool, Error> {
        if key.method == Method::Permit2 {
            return self.is_permit2_used(key.payer, key.nonce.into()).await;
        }
        let question = IToken::authorizationStateCall { authorizer: key.payer, nonce: key.nonce };
        let request = TransactionRequest::default().to(key.token).input(question.abi_encode().into());
        let answer = self.provider.call(request).await?;
        Ok(IToken::authorizationStateCall::abi_decode_returns(&answer).unwrap_or(false))
    }

    async fn is_permit2_used(&self, owner: Address, nonce: U256) -> Result<bool, Error> {
        let (word, bit) = permit2::bit_of(nonce);
        let question = permit2::IPermit2::nonceBitmapCall { owner, word };
        let request = TransactionRequest::default().to(PERMIT2).input(question.abi_encode().into());
        let answer = self.provider.call(request).await?;
        Ok(permit2::IPermit2::nonceBitmapCall::abi_decode_returns(&answer).is_ok_and(|word| word.bit(bit)))
    }
}

/// Whether the payment is what the seller asked for, and can still be settled: in the official order.
fn check_terms(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
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
fn check_payee(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
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
fn check_price(payment: &Payment, request: &PaymentRequest) -> Result<(), Reason> {
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
fn permit_of(payment: &Payment, request: &PaymentRequest) -> Result<Option<Eip2612Permit>, Reason> {
    if payment.payload.method() != TransferMethod::Permit2 {
        return Ok(None);
    }
    let permit = Eip2612Permit::of(request.payment_payload.extensions.as_ref()).map_err(|_| Reason::Eip2612Format)?;
    let Some(permit) = permit else { return Ok(None) };
    if permit.from != payment.payload.payer() {
        return Err(Reason::Eip2612FromMismatch);
    }
    if permit.asset != payment.token {
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
