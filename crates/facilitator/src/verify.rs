//! Would this payment settle now? In the order, and with the reasons, of the official SDKs.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy::{
    primitives::{Address, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use x402::{EXACT, Eip3009Payload, Erc6492Signature, ExactPayload, PaymentRequest, Reason, TokenDomain};

use crate::{
    Error,
    token::{IToken, IWallet, MULTICALL3, deploy_and_settle, settle_call, signed_by_key},
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
    pub(crate) token: Address,
    pub(crate) payload: Eip3009Payload,
    /// What the transaction calls: the token, or Multicall3 when the payer's wallet must be deployed first.
    pub(crate) to: Address,
    /// Its input.
    pub(crate) call: Bytes,
    /// Gas it gets.
    pub(crate) gas: u64,
}

/// A payment whose signature was judged.
struct Judged {
    /// With the wallet's own signature, taken out of its wrapping.
    payload: Eip3009Payload,
    domain: TokenDomain,
    /// How the payer's wallet comes to be, when it is not there yet. Then only the simulation tells whether it accepts the signature.
    deploy: Option<Erc6492Signature>,
    token_exists: bool,
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
}

impl Verifier {
    pub(crate) async fn verify(&self, request: &PaymentRequest) -> Verdict {
        let judged = match self.judge(request).await? {
            Ok(judged) => judged,
            Err(reason) => return Ok(Err(reason.into())),
        };
        if let Err(reason) = check_terms(&judged.payload, request) {
            return Ok(Err(reason.into()));
        }
        let Judged { payload, domain, deploy, token_exists } = judged;
        if !token_exists {
            return Ok(Err(Reason::AssetNotDeployed.into()));
        }
        let token = domain.asset;
        let call = settle_call(&payload.authorization, &payload.signature);
        let (to, call, gas) = match deploy {
            None => (token, call, SETTLE_GAS_MAX),
            Some(wrapped) => (MULTICALL3, deploy_and_settle(wrapped, token, call), DEPLOY_GAS_MAX),
        };
        self.simulate(Valid { token, payload, to, call, gas }, &domain).await
    }

    /// Whether the payer signed, as far as that can be told without a simulation: for a wallet that is still to be deployed, whether we would.
    async fn judge(&self, request: &PaymentRequest) -> Result<Result<Judged, Reason>, Error> {
        let (mut payload, domain) = match self.read(request) {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        let Ok(deploy) = Erc6492Signature::parse(&payload.signature) else { return Ok(Err(Reason::FailedToParseSignature)) };
        let (payer_code, token_code) = tokio::try_join!(
            self.provider.get_code_at(payload.authorization.from).into_future(),
            self.provider.get_code_at(domain.asset).into_future()
        )?;
        if let Some(wrapped) = &deploy {
            payload.signature = wrapped.inner.clone();
        }
        let deploy = deploy.filter(|_| payer_code.is_empty());
        match &deploy {
            Some(wrapped) if !self.factories.contains(&wrapped.factory) => Ok(Err(Reason::FactoryNotAllowed)),
            None if !self.is_signed(&payload, &domain, !payer_code.is_empty()).await? => Ok(Err(Reason::InvalidSignature)),
            _ => Ok(Ok(Judged { payload, domain, deploy, token_exists: !token_code.is_empty() })),
        }
    }

    /// Whether the payer's signature holds now. Not for a wallet that is not there yet: it can say nothing.
    pub(crate) async fn is_vouched_for(&self, request: &PaymentRequest) -> Result<bool, Error> {
        Ok(self.judge(request).await?.is_ok_and(|judged| judged.deploy.is_none()))
    }

    /// The payload, and the token it is about, when they are of a kind that is settled here.
    fn read(&self, request: &PaymentRequest) -> Result<(Eip3009Payload, TokenDomain), Reason> {
        let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
        if requirements.scheme != EXACT || accepted.scheme != EXACT {
            return Err(Reason::InvalidScheme);
        }
        if requirements.network.chain_id() != Some(self.chain_id) {
            return Err(Reason::InvalidNetwork);
        }
        if requirements.asset_address().is_none() {
            return Err(Reason::InvalidPaymentRequirements);
        }
        let payload = match request.payment_payload.exact() {
            Ok(ExactPayload::Eip3009(payload)) => payload,
            Ok(ExactPayload::Permit2(_)) => return Err(Reason::UnsupportedPayloadType),
            Err(_) => return Err(Reason::InvalidPayload),
        };
        let domain = TokenDomain::of(requirements).ok_or(Reason::MissingEip712Domain)?;
        if accepted.network != requirements.network {
            return Err(Reason::NetworkMismatch);
        }
        Ok((payload, domain))
    }

    /// As the token judges on chain: an account with code is asked, whatever its key signed.
    async fn is_signed(&self, payload: &Eip3009Payload, domain: &TokenDomain, has_code: bool) -> Result<bool, Error> {
        if !has_code {
            return Ok(signed_by_key(payload, domain));
        }
        let hash = payload.authorization.signing_hash(domain);
        let question = IWallet::isValidSignatureCall { hash, signature: payload.signature.clone() };
        let request = TransactionRequest::default().to(payload.authorization.from).input(question.abi_encode().into());
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
    async fn simulate(&self, mut valid: Valid, domain: &TokenDomain) -> Verdict {
        let request = TransactionRequest::default().from(self.sender).to(valid.to).input(valid.call.clone().into());
        let request = TransactionRequest { gas: Some(valid.gas), ..request };
        match self.provider.estimate_gas(request).await {
            // A payer's contract may use more in the block than now.
            Ok(gas) => {
                valid.gas = (gas + gas / 4).min(valid.gas);
                Ok(Ok(valid))
            }
            Err(error) if error.is_error_resp() => {
                let message = error.as_error_resp().map(|response| response.message.to_string());
                Ok(Err(Invalid { reason: self.diagnose(&valid, domain).await?, message }))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What of the chain's state explains a refusal.
    async fn diagnose(&self, valid: &Valid, domain: &TokenDomain) -> Result<Reason, Error> {
        let authorization = &valid.payload.authorization;
        let state = IToken::authorizationStateCall { authorizer: authorization.from, nonce: authorization.nonce };
        let balance = IToken::balanceOfCall { account: authorization.from };
        let (name, version, used, balance) = tokio::join!(
            self.ask(valid.token, IToken::nameCall {}),
            self.ask(valid.token, IToken::versionCall {}),
            self.ask(valid.token, state),
            self.ask(valid.token, balance)
        );
        Ok(match (used, name, version, balance) {
            (None, ..) => Reason::Eip3009NotSupported,
            (Some(true), ..) => Reason::NonceAlreadyUsed,
            (_, Some(name), ..) if name != domain.name => Reason::TokenNameMismatch,
            (_, _, Some(version), _) if version != domain.version => Reason::TokenVersionMismatch,
            (.., Some(balance)) if balance < authorization.value.0 => Reason::InsufficientBalance,
            _ => Reason::SimulationFailed,
        })
    }

    async fn ask<C: SolCall>(&self, token: Address, call: C) -> Option<C::Return> {
        let request = TransactionRequest::default().to(token).input(call.abi_encode().into());
        let answer = self.provider.call(request).await.ok()?;
        C::abi_decode_returns(&answer).ok()
    }

    /// Whether the token has burnt the authorization's nonce.
    pub(crate) async fn is_used(&self, token: Address, payer: Address, nonce: alloy::primitives::B256) -> Result<bool, Error> {
        let question = IToken::authorizationStateCall { authorizer: payer, nonce };
        let request = TransactionRequest::default().to(token).input(question.abi_encode().into());
        let answer = self.provider.call(request).await?;
        Ok(IToken::authorizationStateCall::abi_decode_returns(&answer).unwrap_or(false))
    }
}

/// Whether the payment is what the seller asked for, and can still be settled.
fn check_terms(payload: &Eip3009Payload, request: &PaymentRequest) -> Result<(), Reason> {
    let (authorization, requirements, now) = (&payload.authorization, &request.payment_requirements, U256::from(now()));
    if authorization.to != requirements.pay_to_address().ok_or(Reason::InvalidPaymentRequirements)? {
        return Err(Reason::RecipientMismatch);
    }
    if authorization.valid_before.0 < now + U256::from(VALIDITY_MIN_SECONDS) {
        return Err(Reason::ValidBefore);
    }
    if authorization.valid_after.0 > now {
        return Err(Reason::ValidAfter);
    }
    if authorization.value != requirements.amount {
        return Err(Reason::ValueMismatch);
    }
    Ok(())
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
