//! Would this payment settle now? In the order, and with the reasons, of the official SDKs.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::{
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol_types::{SolCall, decode_revert_reason},
    transports::TransportErrorKind,
};
use x402::{
    Eip2612Permit, Eip3009Authorization, Erc6492Signature, ExactPayload, PERMIT2, PERMIT2_EXACT_PROXY, PaymentRequest, Reason,
    Scheme, Token, TokenDomain, TransferMethod, recover_permit2, recover_strict,
};

use crate::{
    Error,
    channels::Channels,
    lens::{Answer, Holding, Lens, Question},
    permit2,
    settlement::{Call, Key, Method},
    token::{IToken, IWallet, MULTICALL3, Transfer, deploy_and_settle, settlement},
};

/// An authorization must last this much longer, or it could expire on its way into a block.
pub(crate) const VALIDITY_MIN_SECONDS: u64 = 6;
/// What a settlement may use: more is an attack on the signer's purse by a payer's contract.
pub(crate) const SETTLE_GAS_MAX: u64 = 1_000_000;
/// The same when the payer's wallet is deployed on the way.
const DEPLOY_GAS_MAX: u64 = 3_000_000;
/// What a view of a token may use.
const VIEW_GAS_MAX: u64 = 200_000;

/// A payment that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Valid {
    pub(crate) transfer: Transfer,
    /// Of the token, the Permit2 proxy, or Multicall3 when the payer's wallet must be deployed first.
    pub(crate) call: Call,
    /// Whether nothing but the token's own code runs in the call, so that it may share a transaction with others.
    pub(crate) batchable: bool,
}

/// A payment of a kind that is settled here.
struct Payment {
    payload: ExactPayload,
    token: Address,
    /// What the payer signed.
    hash: B256,
}

impl Payment {
    /// Whether the payer's key signed, judged as the chain does for an account without code.
    fn is_signed_by_key(&self) -> bool {
        let signer = match &self.payload {
            ExactPayload::Eip3009(p) => recover_strict(self.hash, &p.signature),
            ExactPayload::Permit2(p) => recover_permit2(self.hash, &p.signature),
        };
        signer == Some(self.payload.payer())
    }

    /// The question to a payer with code.
    fn is_signed_by_contract(&self) -> Call {
        let question = IWallet::isValidSignatureCall { hash: self.hash, signature: self.payload.signature().clone() };
        Call { to: self.payload.payer(), input: question.abi_encode().into(), gas: SETTLE_GAS_MAX }
    }
}

/// Who judges the payer's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payer {
    /// Nobody but mathematics.
    Key,
    /// The payer's own code.
    Contract,
    /// The code it will have when its factory is called on the way.
    Undeployed,
}

/// A payment whose signature was judged and whose settlement was tried.
struct Trial {
    /// With the wallet's own signature, taken out of its wrapping.
    payment: Payment,
    payer: Payer,
    call: Call,
    settled: Answer,
}

impl Trial {
    fn valid(mut self) -> Valid {
        /// Of any transaction, and of each byte of its input at most.
        const TRANSACTION_GAS: u64 = 21_000;
        const INPUT_BYTE_GAS: u64 = 16;
        let used: u64 = self.settled.gasUsed.saturating_to();
        // A payer's contract may use more in the block than now.
        let gas = used + used / 4 + TRANSACTION_GAS + INPUT_BYTE_GAS * self.call.input.len() as u64;
        self.call.gas = gas.min(self.call.gas);
        let batchable = self.payer == Payer::Key && self.payment.payload.method() == TransferMethod::Eip3009;
        Valid { transfer: Transfer::of(&self.payment.payload, self.payment.token), call: self.call, batchable }
    }
}

/// Whether a payer's contract said yes, to the letter.
pub(crate) fn is_magic(answer: &Answer) -> bool {
    let (magic, output) = (IWallet::isValidSignatureCall::SELECTOR, &answer.output);
    answer.succeeded && output.len() >= 32 && output[..4] == magic && output[4..32].iter().all(|byte| *byte == 0)
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
    pub(crate) lens: Lens,
    pub(crate) chain_id: u64,
    pub(crate) factories: Vec<Address>,
    pub(crate) channels: Channels,
}

impl Verifier {
    /// Whether the payment would settle now, for a caller who does not settle it. For the usual payment, by a key and of Circle's USDC, the
    /// token's state tells as much as a trial, and for much less; every other one, and whatever state cannot clear, is tried.
    pub(crate) async fn judge(&self, request: &PaymentRequest) -> Result<Result<Address, Invalid>, Error> {
        if let Some(holding) = self.usual(request)
            && let payer = holding.payer
            && self.lens.suffices(holding).await?
        {
            return Ok(Ok(payer));
        }
        Ok(self.verify(request).await?.map(|valid| valid.transfer.from))
    }

    /// What the payer of a payment must have, if it is a usual one with nothing wrong about it that can be seen without the chain.
    fn usual(&self, request: &PaymentRequest) -> Option<Holding> {
        let payment = self.read(request).ok()?;
        let ExactPayload::Eip3009(payload) = &payment.payload else { return None };
        let asked = &request.payment_requirements;
        let is_usdc = Token::usdc(&asked.network).ok()?.domain() == TokenDomain::of(asked);
        let Eip3009Authorization { from: payer, to: payee, value, nonce, .. } = payload.authorization;
        if !is_usdc || payee.is_zero() || check_terms(&payment, request).is_err() || !payment.is_signed_by_key() {
            return None;
        }
        Some(Holding { token: payment.token, payer, payee, nonce, amount: value.0 })
    }

    /// The same by trying it: also tells how to settle it.
    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Verdict {
        let payment = match self.read(request) {
            Ok(payment) => payment,
            Err(reason) => return Ok(Err(reason.into())),
        };
        // The official order: Permit2's terms before its signature, an authorization's after.
        let terms = check_terms(&payment, request).and_then(|()| match &payment.payload {
            ExactPayload::Eip3009(_) => Ok(None),
            ExactPayload::Permit2(p) => permit_of(p.permit2_authorization.from, payment.token, request),
        });
        if let (ExactPayload::Permit2(_), Err(reason)) = (&payment.payload, &terms) {
            return Ok(Err(reason.clone().into()));
        }
        let permit = terms.as_ref().ok().and_then(Option::as_ref);
        let trial = match self.try_out(payment, permit).await? {
            Ok(trial) => trial,
            Err(reason) => return Ok(Err(reason.into())),
        };
        match terms {
            Err(reason) => Ok(Err(reason.into())),
            Ok(_) if !trial.settled.tokenHasCode => Ok(Err(Reason::AssetNotDeployed.into())),
            // A call of what is not there succeeds.
            Ok(_) if !trial.settled.targetHasCode => Ok(Err(Reason::Permit2ProxyNotDeployed.into())),
            Ok(_) if trial.settled.succeeded => Ok(Ok(trial.valid())),
            Ok(_) => self.explain(&trial, request).await.map(Err),
        }
    }

    /// Whether the payer's signature holds now, for what the seller asks. Not for a wallet that is not there yet: it can say nothing.
    pub(crate) async fn is_vouched_for(&self, request: &PaymentRequest) -> Result<bool, Error> {
        let Ok(payment) = self.read(request) else { return Ok(false) };
        if check_payee(&payment, request).and_then(|()| check_price(&payment, request)).is_err() {
            return Ok(false);
        }
        Ok(self.try_out(payment, None).await?.is_ok_and(|trial| trial.payer != Payer::Undeployed))
    }

    /// Judges the payer's signature as the token, or Permit2, does on chain, and tries the settlement in the same block. An account with
    /// code is asked, whatever its key signed; for a wallet that is still to be deployed only the trial tells.
    async fn try_out(&self, mut payment: Payment, permit: Option<&Eip2612Permit>) -> Result<Result<Trial, Reason>, Error> {
        let Ok(wrapped) = Erc6492Signature::parse(payment.payload.signature()) else {
            return Ok(Err(Reason::FailedToParseSignature));
        };
        if let Some(wrapped) = &wrapped {
            payment.payload = payment.payload.with_signature(wrapped.inner.clone());
        }
        let (to, input) = settlement(&payment.payload, payment.token, permit);
        let settle = Call { to, input, gas: SETTLE_GAS_MAX };
        let deployment = wrapped.map(|wrapped| {
            self.factories.contains(&wrapped.factory).then(|| {
                let input = deploy_and_settle(wrapped, to, settle.input.clone());
                Call { to: MULTICALL3, input, gas: DEPLOY_GAS_MAX }
            })
        });
        let is_by_key = deployment.is_none() && payment.is_signed_by_key();
        let mut payer = match &deployment {
            Some(Some(_)) => Payer::Undeployed,
            _ if is_by_key => Payer::Key,
            _ => Payer::Contract,
        };
        loop {
            let call = match (payer, &deployment) {
                (Payer::Undeployed, Some(Some(both))) => both.clone(),
                _ => settle.clone(),
            };
            let from = payment.payload.payer();
            let mut questions = vec![Question::new(from, payment.token, &call)];
            if payer == Payer::Contract {
                questions.push(Question::new(from, payment.token, &payment.is_signed_by_contract()));
            }
            let mut answers = self.lens.ask(questions).await?.into_iter();
            let settled = answers.next().ok_or_else(|| TransportErrorKind::custom_str("the lens did not answer"))?;
            // Who has code is seen with the answer; whoever was taken for something else is asked as what it is.
            match (settled.payerHasCode, &deployment) {
                (true, _) if payer != Payer::Contract => {
                    payer = Payer::Contract;
                    continue;
                }
                (true, _) if !answers.next().is_some_and(|answer| is_magic(&answer)) => {
                    return Ok(Err(Names::of(payment.payload.method()).signature));
                }
                (false, None) if !is_by_key => return Ok(Err(Names::of(payment.payload.method()).signature)),
                (false, Some(None)) => return Ok(Err(Reason::FactoryNotAllowed)),
                _ => {}
            }
            return Ok(Ok(Trial { payment, payer, call, settled }));
        }
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

    /// Why a settlement would be refused: the chain's own words, or what of its state explains them.
    async fn explain(&self, trial: &Trial, asked: &PaymentRequest) -> Result<Invalid, Error> {
        let revert = &trial.settled.output;
        let reason = match &trial.payment.payload {
            ExactPayload::Eip3009(p) => self.diagnose(&p.authorization, asked).await?,
            ExactPayload::Permit2(_) => match permit2::reason_of(revert) {
                Some(reason) => reason,
                None => {
                    let Payment { payload, token, .. } = &trial.payment;
                    self.diagnose_permit2(&Transfer::of(payload, *token), payload.nonce().into()).await?
                }
            },
        };
        let words = || decode_revert_reason(revert).unwrap_or_else(|| revert.to_string());
        let message = (!revert.is_empty()).then(|| format!("execution reverted: {}", words()));
        Ok(Invalid { reason, message })
    }

    /// What of the chain's state explains the refusal of an authorization.
    async fn diagnose(&self, authorization: &Eip3009Authorization, asked: &PaymentRequest) -> Result<Reason, Error> {
        let Some(domain) = TokenDomain::of(&asked.payment_requirements) else { return Ok(Reason::MissingEip712Domain) };
        let state = IToken::authorizationStateCall { authorizer: authorization.from, nonce: authorization.nonce };
        let balance = IToken::balanceOfCall { account: authorization.from };
        let (name, version) = (IToken::nameCall {}, IToken::versionCall {});
        let calls = [state.abi_encode(), balance.abi_encode(), name.abi_encode(), version.abi_encode()];
        let Ok([used, balance, name, version]) = self.views(domain.asset, calls).await? else {
            return Ok(Reason::SimulationFailed);
        };
        let used = used.returned::<IToken::authorizationStateCall>();
        let balance = balance.returned::<IToken::balanceOfCall>();
        let (name, version) = (name.returned::<IToken::nameCall>(), version.returned::<IToken::versionCall>());
        Ok(match (used, name, version, balance) {
            (None, ..) => Reason::Eip3009NotSupported,
            (Some(true), ..) => Reason::NonceAlreadyUsed,
            (_, Some(name), ..) if name != domain.name => Reason::TokenNameMismatch,
            (_, _, Some(version), _) if version != domain.version => Reason::TokenVersionMismatch,
            (.., Some(balance)) if balance < authorization.value.0 => Reason::InsufficientBalance,
            _ => Reason::SimulationFailed,
        })
    }

    /// The same for a payment by Permit2 about which the chain said nothing.
    pub(crate) async fn diagnose_permit2(&self, transfer: &Transfer, nonce: U256) -> Result<Reason, Error> {
        let Transfer { token, from, amount, .. } = *transfer;
        if self.is_permit2_used(from, nonce).await? {
            return Ok(Reason::Permit2InvalidNonce);
        }
        let balance = IToken::balanceOfCall { account: from };
        let allowance = IToken::allowanceCall { owner: from, spender: PERMIT2 };
        let Ok([balance, allowance]) = self.views(token, [balance.abi_encode(), allowance.abi_encode()]).await? else {
            return Ok(Reason::Permit2SimulationFailed);
        };
        let (balance, allowance) = (balance.returned::<IToken::balanceOfCall>(), allowance.returned::<IToken::allowanceCall>());
        Ok(match (balance, allowance) {
            (Some(balance), _) if balance < amount => Reason::Permit2InsufficientBalance,
            (_, Some(allowance)) if allowance < amount => Reason::Permit2AllowanceRequired,
            _ => Reason::Permit2SimulationFailed,
        })
    }

    /// Views of one contract, in one block.
    async fn views<const N: usize>(&self, of: Address, calls: [Vec<u8>; N]) -> Result<Result<[Answer; N], Vec<Answer>>, Error> {
        let questions = calls.map(|input| Question::new(of, of, &Call { to: of, input: input.into(), gas: VIEW_GAS_MAX }));
        Ok(self.lens.ask(questions.into()).await?.try_into())
    }

    /// Whether the token, or Permit2, has burnt the payment's nonce.
    pub(crate) async fn is_used(&self, key: &Key) -> Result<bool, Error> {
        if key.method == Method::Channel {
            return Ok(false);
        }
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
pub(crate) fn permit_of(payer: Address, token: Address, request: &PaymentRequest) -> Result<Option<Eip2612Permit>, Reason> {
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
