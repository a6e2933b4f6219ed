//! What the scheme asks the chain.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolError,
};
use x402::{Reason, auth_capture::IAuthCaptureEscrow};

use crate::{Error, engine::Engine, settlement::Call, verify::Invalid};

/// What the escrow knows of a payment.
pub(super) struct Held {
    pub(super) capturable: U256,
    pub(super) refundable: U256,
}

impl Engine {
    /// `None` when the escrow never had it, or is not there.
    pub(super) async fn held(&self, escrow: Address, payment: B256) -> Result<Option<Held>, Error> {
        let state = self.ask(escrow, IAuthCaptureEscrow::paymentStateCall { paymentInfoHash: payment }).await?;
        Ok(state
            .filter(|state| state.hasCollectedPayment)
            .map(|state| Held { capturable: state.capturableAmount.to(), refundable: state.refundableAmount.to() }))
    }

    /// The call with the gas it needs, tried on the newest state as its operator; else why the escrow refuses.
    pub(super) async fn try_as(&self, operator: Address, escrow: Address, input: Bytes, gas_max: u64) -> Tried {
        let request = TransactionRequest::default().from(operator).to(escrow).input(input.clone().into());
        match self.verifier.provider.estimate_gas(TransactionRequest { gas: Some(gas_max), ..request }).await {
            // The payer's wallet may use more in the block than now.
            Ok(gas) => Ok(Ok(Call::new(escrow, input, (gas + gas / 4).min(gas_max)))),
            Err(error) => {
                let Some(response) = error.as_error_resp() else { return Err(error.into()) };
                let reason = reason_of(&response.as_revert_data().unwrap_or_default());
                Ok(Err(Invalid { reason, message: Some(response.message.to_string()) }))
            }
        }
    }
}

pub(super) type Tried = Result<Result<Call, Invalid>, Error>;

/// The protocol's word for what the escrow said.
fn reason_of(revert: &[u8]) -> Reason {
    use IAuthCaptureEscrow as E;
    let known = [
        (E::AfterPreApprovalExpiry::SELECTOR, Reason::AuthCaptureAuthorizationExpired),
        (E::InvalidExpiries::SELECTOR, Reason::AuthCaptureDeadlineOrdering),
        (E::ExceedsMaxAmount::SELECTOR, Reason::AuthCaptureAmountMismatch),
        (E::ZeroAmount::SELECTOR, Reason::AuthCaptureAmountMismatch),
        (E::PaymentAlreadyCollected::SELECTOR, Reason::AuthCaptureAlreadyCollected),
        (E::InvalidSender::SELECTOR, Reason::AuthCaptureOperatorMismatch),
        (E::AfterAuthorizationExpiry::SELECTOR, Reason::AuthCaptureDeadlineExpired),
        (E::InsufficientAuthorization::SELECTOR, Reason::AuthCaptureInsufficientAuthorization),
        (E::ZeroAuthorization::SELECTOR, Reason::AuthCaptureZeroAuthorization),
    ];
    let of = |(selector, _): &([u8; 4], Reason)| revert.starts_with(selector);
    known.into_iter().find(of).map_or(Reason::AuthCaptureSimulationFailed, |(_, reason)| reason)
}
