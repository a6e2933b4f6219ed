//! Tries a payment, as it would be settled, on the newest block.

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolCall,
    transports::TransportErrorKind,
};
use x402::{Eip2612Permit, Erc6492Signature, ExactPayload, Reason, TransferMethod, recover_permit2, recover_strict};

use super::{Names, Next, Valid, Verifier};
use crate::{
    Error,
    lens::{Answer, Question},
    settlement::Call,
    token::{IToken, IWallet, MULTICALL3, Transfer, deploy_and_settle, settlement},
};

/// What a settlement may use: more is an attack on the signer's purse by a payer's contract.
pub(crate) const SETTLE_GAS_MAX: u64 = 1_000_000;
/// The same when the payer's wallet is deployed on the way.
const DEPLOY_GAS_MAX: u64 = 3_000_000;

/// A payment of a kind that is settled here.
pub(super) struct Payment {
    pub(super) payload: ExactPayload,
    pub(super) token: Address,
    /// What the payer signed.
    pub(super) hash: B256,
}

impl Payment {
    /// Whether the payer's key signed, judged as the chain does for an account without code.
    pub(super) fn is_signed_by_key(&self) -> bool {
        let signer = match &self.payload {
            ExactPayload::Eip3009(p) => recover_strict(self.hash, &p.signature),
            ExactPayload::Permit2(p) => recover_permit2(self.hash, &p.signature),
        };
        signer == Some(self.payload.payer())
    }

    /// The question to a payer with code.
    fn is_signed_by_contract(&self) -> Call {
        let question = IWallet::isValidSignatureCall { hash: self.hash, signature: self.payload.signature().clone() };
        Call::new(self.payload.payer(), question.abi_encode(), SETTLE_GAS_MAX)
    }
}

/// Who judges the payer's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// Nobody but mathematics.
    Key,
    /// The payer's own code.
    Contract,
    /// The code it will have when its factory is called on the way.
    Undeployed,
}

/// A payment whose signature was judged and whose settlement was tried.
pub(super) struct Trial {
    /// With the wallet's own signature, taken out of its wrapping.
    pub(super) payment: Payment,
    pub(super) payer: Payer,
    call: Call,
    pub(super) settled: Answer,
    /// What the payer has, if that was to be asked too.
    pub(super) funds: Option<U256>,
}

impl Trial {
    pub(super) fn valid(mut self) -> Valid {
        /// Of any transaction, and of each byte of its input at most.
        const TRANSACTION_GAS: u64 = 21_000;
        const INPUT_BYTE_GAS: u64 = 16;
        /// And at least this for each in all (EIP-7623): a long signature that costs little to judge would not be taken otherwise.
        const INPUT_BYTE_GAS_MIN: u64 = 40;
        let used: u64 = self.settled.gasUsed.saturating_to();
        // A payer's contract may use more in the block than now.
        let bytes = self.call.input.len() as u64;
        let gas = (used + used / 4 + INPUT_BYTE_GAS * bytes).max(INPUT_BYTE_GAS_MIN * bytes) + TRANSACTION_GAS;
        self.call.gas = gas.min(self.call.gas);
        let batchable = self.payer == Payer::Key && self.payment.payload.method() == TransferMethod::Eip3009;
        Valid { transfer: self.transfer(), funds: self.funds, next: Next::Send { call: self.call, batchable } }
    }

    pub(super) fn transfer(&self) -> Transfer {
        Transfer::of(&self.payment.payload, self.payment.token)
    }
}

/// Whether a payer's contract said yes, to the letter.
pub(crate) fn is_magic(answer: &Answer) -> bool {
    let (magic, output) = (IWallet::isValidSignatureCall::SELECTOR, &answer.output);
    answer.succeeded && output.len() >= 32 && output[..4] == magic && output[4..32].iter().all(|byte| *byte == 0)
}

impl Verifier {
    /// Judges the payer's signature as the token, or Permit2, does on chain, and tries the settlement in the same block. An account with
    /// code is asked, whatever its key signed; for a wallet that is still to be deployed only the trial tells.
    pub(super) async fn try_out(
        &self,
        mut payment: Payment,
        permit: Option<&Eip2612Permit>,
        ask_funds: bool,
    ) -> Result<Result<Trial, Reason>, Error> {
        let Ok(wrapped) = Erc6492Signature::parse(payment.payload.signature()) else {
            return Ok(Err(Reason::FailedToParseSignature));
        };
        if let Some(wrapped) = &wrapped {
            payment.payload = payment.payload.with_signature(wrapped.inner.clone());
        }
        let (to, input) = settlement(&payment.payload, payment.token, permit);
        let settle = Call::new(to, input, SETTLE_GAS_MAX);
        let deployment = wrapped.map(|wrapped| {
            self.factories.contains(&wrapped.factory).then(|| {
                let input = deploy_and_settle(wrapped, to, settle.input.clone());
                Call::new(MULTICALL3, input, DEPLOY_GAS_MAX)
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
            if ask_funds {
                questions.push(Question::of_balance(payment.token, from));
            }
            let mut answers = self.lens.ask(questions).await?;
            let funds =
                if ask_funds { answers.pop().and_then(|answer| answer.returned::<IToken::balanceOfCall>()) } else { None };
            let mut answers = answers.into_iter();
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
            return Ok(Ok(Trial { payment, payer, call, settled, funds }));
        }
    }
}
