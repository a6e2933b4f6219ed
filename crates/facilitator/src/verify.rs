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
        let (mut payload, domain) = match self.check_fields(request) {
            Ok(checked) => checked,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let token = domain.asset;
        let deploy = match Erc6492Signature::parse(&payload.signature) {
            Ok(deploy) => deploy,
            Err(_) => return Ok(Err(Reason::FailedToParseSignature.into())),
        };
        let payer = payload.authorization.from;
        let (payer_code, token_code) =
            tokio::try_join!(self.provider.get_code_at(payer).into_future(), self.provider.get_code_at(token).into_future())?;
        if token_code.is_empty() {
            return Ok(Err(Reason::AssetNotDeployed.into()));
        }
        if let Some(wrapped) = &deploy {
            payload.signature = wrapped.inner.clone();
        }
        let deploy = deploy.filter(|_| payer_code.is_empty());
        if let Some(wrapped) = &deploy {
            if !self.factories.contains(&wrapped.factory) {
                return Ok(Err(Reason::FactoryNotAllowed.into()));
            }
        } else if !self.is_signed(&payload, &domain, !payer_code.is_empty()).await {
            return Ok(Err(Reason::InvalidSignature.into()));
        }
        let call = settle_call(&payload.authorization, &payload.signature);
        let (to, call, gas) = match deploy {
            None => (token, call, SETTLE_GAS_MAX),
            Some(wrapped) => (MULTICALL3, deploy_and_settle(wrapped, token, call), DEPLOY_GAS_MAX),
        };
        self.simulate(Valid { token, payload, to, call, gas }, &domain).await
    }

    /// Everything that needs no chain.
    fn check_fields(&self, request: &PaymentRequest) -> Result<(Eip3009Payload, TokenDomain), Reason> {
        let (requirements, accepted) = (&request.payment_requirements, &request.payment_payload.accepted);
        if requirements.scheme != EXACT || accepted.scheme != EXACT {
            return Err(Reason::InvalidScheme);
        }
        if requirements.network.chain_id() != Some(self.chain_id) {
            return Err(Reason::InvalidNetwork);
        }
        if accepted.network != requirements.network {
            return Err(Reason::NetworkMismatch);
        }
        let pay_to = requirements.pay_to_address().ok_or(Reason::InvalidPaymentRequirements)?;
        if requirements.asset_address().is_none() {
            return Err(Reason::InvalidPaymentRequirements);
        }
        let payload = match request.payment_payload.exact() {
            Ok(ExactPayload::Eip3009(payload)) => payload,
            Ok(ExactPayload::Permit2(_)) => return Err(Reason::UnsupportedPayloadType),
            Err(_) => return Err(Reason::InvalidPayload),
        };
        let domain = TokenDomain::of(requirements).ok_or(Reason::MissingEip712Domain)?;
        let authorization = &payload.authorization;
        let now = U256::from(now());
        if authorization.to != pay_to {
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
        Ok((payload, domain))
    }

    /// As the token judges on chain: an account with code is asked, whatever its key signed.
    async fn is_signed(&self, payload: &Eip3009Payload, domain: &TokenDomain, has_code: bool) -> bool {
        if !has_code {
            return signed_by_key(payload, domain);
        }
        let hash = payload.authorization.signing_hash(domain);
        let question = IWallet::isValidSignatureCall { hash, signature: payload.signature.clone() };
        let request = TransactionRequest::default().to(payload.authorization.from).input(question.abi_encode().into());
        let request = TransactionRequest { gas: Some(SETTLE_GAS_MAX), ..request };
        let magic = IWallet::isValidSignatureCall::SELECTOR;
        self.provider
            .call(request)
            .await
            .is_ok_and(|answer| answer.len() >= 32 && answer[..4] == magic && answer[4..32].iter().all(|b| *b == 0))
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
    pub(crate) async fn is_used(&self, token: Address, payer: Address, nonce: alloy::primitives::B256) -> bool {
        self.ask(token, IToken::authorizationStateCall { authorizer: payer, nonce }).await.unwrap_or(false)
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
