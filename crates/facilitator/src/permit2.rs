//! Permit2 and the proxy that settles what was signed for it.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol,
    sol_types::{SolCall, SolError},
};
use x402::{Eip2612Permit, PERMIT2_EXACT_PROXY, Permit2Authorization, Permit2Payload, Reason, UptoPayload};

use crate::token::{IMulticall3, MULTICALL3, Transfer};

sol! {
    #![sol(all_derives)]
    struct TokenPermissions { address token; uint256 amount; }
    struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
    struct Witness { address to; uint256 validAfter; }
    struct UptoWitness { address to; address facilitator; uint256 validAfter; }
    struct Permit2612 { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }

    interface IExactProxy {
        error InvalidAmount();
        error InvalidDestination();
        error InvalidOwner();
        error PaymentTooEarly();
        error Permit2612AmountMismatch();
        function settle(PermitTransferFrom permit, address owner, Witness witness, bytes signature) external;
        function settleWithPermit(Permit2612 permit2612, PermitTransferFrom permit, address owner, Witness witness, bytes signature) external;
    }

    interface IUptoProxy {
        error AmountExceedsPermitted();
        error UnauthorizedFacilitator();
        function settle(PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness, bytes signature) external;
        function settleWithPermit(Permit2612 permit2612, PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness, bytes signature) external;
    }

    interface IPermit2 {
        error InvalidNonce();
        error InvalidSigner();
        error InvalidSignature();
        error InvalidSignatureLength();
        error InvalidContractSignature();
        error SignatureExpired(uint256 signatureDeadline);
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
    }
}

/// The call of the proxy that settles, with the payer's permit for Permit2 when it brings one.
pub(crate) fn settle_call(payload: &Permit2Payload, permit2612: Option<&Eip2612Permit>) -> Bytes {
    let signed = &payload.permit2_authorization;
    let permit = transfer_from(signed);
    let witness = Witness { to: signed.witness.to, validAfter: signed.witness.valid_after.0 };
    let (owner, signature) = (signed.from, payload.signature.clone());
    match permit2612.and_then(split) {
        Some(permit2612) => {
            IExactProxy::settleWithPermitCall { permit2612, permit, owner, witness, signature }.abi_encode().into()
        }
        None => IExactProxy::settleCall { permit, owner, witness, signature }.abi_encode().into(),
    }
}

/// The same for the scheme `upto`, of which `amount` is charged.
pub(crate) fn upto_call(payload: &UptoPayload, amount: U256, permit2612: Option<&Eip2612Permit>) -> Bytes {
    let signed = &payload.permit2_authorization;
    let permit = transfer_from(signed);
    let x402::UptoWitness { to, facilitator, valid_after } = signed.witness;
    let witness = UptoWitness { to, facilitator, validAfter: valid_after.0 };
    let (owner, signature) = (signed.from, payload.signature.clone());
    match permit2612.and_then(split) {
        Some(permit2612) => {
            IUptoProxy::settleWithPermitCall { permit2612, permit, amount, owner, witness, signature }.abi_encode().into()
        }
        None => IUptoProxy::settleCall { permit, amount, owner, witness, signature }.abi_encode().into(),
    }
}

fn transfer_from<W>(signed: &Permit2Authorization<W>) -> PermitTransferFrom {
    let permitted = TokenPermissions { token: signed.permitted.token, amount: signed.permitted.amount.0 };
    PermitTransferFrom { permitted, nonce: signed.nonce.0, deadline: signed.deadline.0 }
}

/// As the token takes it; `None` for a signature that is not 65 bytes.
fn split(permit: &Eip2612Permit) -> Option<Permit2612> {
    let signature: &[u8; 65] = permit.signature.as_ref().try_into().ok()?;
    let (r, s) = (B256::from_slice(&signature[..32]), B256::from_slice(&signature[32..64]));
    Some(Permit2612 { value: permit.amount.0, deadline: permit.deadline.0, r, s, v: signature[64] })
}

/// Whether a successful transaction settled this very payment, nonce and all, through the proxy. Permit2 logs nothing that tells.
pub(crate) fn settles(to: Option<Address>, input: &[u8], transfer: &Transfer, nonce: U256) -> bool {
    match to {
        Some(PERMIT2_EXACT_PROXY) => is_settlement(input, transfer, nonce),
        Some(MULTICALL3) => IMulticall3::aggregate3Call::abi_decode(input).is_ok_and(|batch| {
            let mut calls = batch.calls.iter().filter(|call| call.target == PERMIT2_EXACT_PROXY && !call.allowFailure);
            calls.any(|call| is_settlement(&call.callData, transfer, nonce))
        }),
        // What another contract does with the same words in its input, nobody knows.
        _ => false,
    }
}

fn is_settlement(input: &[u8], transfer: &Transfer, nonce: U256) -> bool {
    let call = IExactProxy::settleCall::abi_decode(input).map(|call| (call.permit, call.owner, call.witness));
    let call = call
        .or_else(|_| IExactProxy::settleWithPermitCall::abi_decode(input).map(|call| (call.permit, call.owner, call.witness)));
    call.is_ok_and(|(permit, from, witness)| {
        let PermitTransferFrom { permitted: TokenPermissions { token, amount }, .. } = permit;
        permit.nonce == nonce && Transfer { token, from, to: witness.to, amount } == *transfer
    })
}

/// What the chain's own words mean.
pub(crate) fn reason_of(revert: &[u8]) -> Option<Reason> {
    let selector: [u8; 4] = revert.get(..4)?.try_into().ok()?;
    Some(match selector {
        IExactProxy::InvalidAmount::SELECTOR => Reason::Permit2InvalidAmount,
        IExactProxy::InvalidDestination::SELECTOR => Reason::Permit2InvalidDestination,
        IExactProxy::InvalidOwner::SELECTOR => Reason::Permit2InvalidOwner,
        IExactProxy::PaymentTooEarly::SELECTOR => Reason::Permit2PaymentTooEarly,
        IExactProxy::Permit2612AmountMismatch::SELECTOR => Reason::Permit2612AmountMismatch,
        IUptoProxy::AmountExceedsPermitted::SELECTOR => Reason::UptoAmountExceedsPermitted,
        IUptoProxy::UnauthorizedFacilitator::SELECTOR => Reason::UptoUnauthorizedFacilitator,
        IPermit2::InvalidNonce::SELECTOR => Reason::Permit2InvalidNonce,
        IPermit2::InvalidSigner::SELECTOR
        | IPermit2::InvalidSignature::SELECTOR
        | IPermit2::InvalidSignatureLength::SELECTOR
        | IPermit2::InvalidContractSignature::SELECTOR
        | IPermit2::SignatureExpired::SELECTOR => Reason::Permit2Signature,
        _ => return None,
    })
}

/// The word of Permit2's bitmap that has the nonce, and the nonce's bit in it.
pub(crate) fn bit_of(nonce: U256) -> (U256, usize) {
    (nonce >> 8, usize::from(nonce.byte(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxies_words_have_their_official_reasons() {
        let told = |selector: [u8; 4]| reason_of(&selector).unwrap();
        assert_eq!(told(IUptoProxy::AmountExceedsPermitted::SELECTOR), Reason::UptoAmountExceedsPermitted);
        assert_eq!(told(IUptoProxy::UnauthorizedFacilitator::SELECTOR), Reason::UptoUnauthorizedFacilitator);
        assert_eq!(told(IExactProxy::InvalidAmount::SELECTOR), Reason::Permit2InvalidAmount);
        assert_eq!(told(IExactProxy::InvalidDestination::SELECTOR), Reason::Permit2InvalidDestination);
        assert_eq!(told(IExactProxy::InvalidOwner::SELECTOR), Reason::Permit2InvalidOwner);
        assert_eq!(told(IExactProxy::PaymentTooEarly::SELECTOR), Reason::Permit2PaymentTooEarly);
        assert_eq!(reason_of(b"abc"), None);
    }
}
