//! Why the chain would refuse a payment: its own words, or what of its state explains them.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::{SolCall, decode_revert_reason},
};
use x402::{Eip3009Authorization, ExactPayload, PERMIT2, PaymentRequest, Reason, TokenDomain};

use super::{Invalid, Payment, Trial, Verifier};
use crate::{
    Error,
    lens::{Answer, Question},
    permit2,
    settlement::{Call, Key, Method},
    token::{IToken, Transfer},
};

/// What a view of a token may use.
const VIEW_GAS_MAX: u64 = 200_000;

impl Verifier {
    /// Why a settlement would be refused: the chain's own words, or what of its state explains them.
    pub(super) async fn explain(&self, trial: &Trial, asked: &PaymentRequest) -> Result<Invalid, Error> {
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
        if self.is_permit2_used(from, nonce, BlockId::latest()).await? {
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
        let questions = calls.map(|input| Question::new(of, of, &Call::new(of, input, VIEW_GAS_MAX)));
        Ok(self.lens.ask(questions.into()).await?.try_into())
    }

    /// What an account has of a token, if the token tells.
    pub(crate) async fn funds(&self, token: Address, account: Address) -> Result<Option<U256>, Error> {
        let answers = self.lens.ask(vec![Question::of_balance(token, account)]).await?;
        Ok(answers.first().and_then(|answer| answer.returned::<IToken::balanceOfCall>()))
    }

    /// Whether the token, or Permit2, has burnt the payment's nonce by this block: one that the node does not have is an error.
    pub(crate) async fn is_used(&self, key: &Key, block: BlockId) -> Result<bool, Error> {
        if key.method == Method::Permit2 {
            return self.is_permit2_used(key.payer, key.nonce.into(), block).await;
        }
        let question = IToken::authorizationStateCall { authorizer: key.payer, nonce: key.nonce };
        let request = TransactionRequest::default().to(key.token).input(question.abi_encode().into());
        let answer = self.provider.call(request).block(block).await?;
        Ok(IToken::authorizationStateCall::abi_decode_returns(&answer).unwrap_or(false))
    }

    async fn is_permit2_used(&self, owner: Address, nonce: U256, block: BlockId) -> Result<bool, Error> {
        let (word, bit) = permit2::bit_of(nonce);
        let question = permit2::IPermit2::nonceBitmapCall { owner, word };
        let request = TransactionRequest::default().to(PERMIT2).input(question.abi_encode().into());
        let answer = self.provider.call(request).block(block).await?;
        Ok(permit2::IPermit2::nonceBitmapCall::abi_decode_returns(&answer).is_ok_and(|word| word.bit(bit)))
    }
}
