//! What a settlement calls and what it moves; the calls of an EIP-3009 token, with and without a contract's signature.

use alloy::{
    primitives::{Address, B256, Bytes, U256, address},
    rpc::types::Log,
    sol,
    sol_types::{SolCall, SolEvent},
};
use x402::{Eip2612Permit, Eip3009Authorization, Erc6492Signature, ExactPayload, PERMIT2_EXACT_PROXY};

use crate::permit2;

/// Multicall3, on every chain. It owns no wallets, so what a factory does with it as its caller harms nobody.
pub(crate) const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

sol! {
    #![sol(all_derives)]
    interface IToken {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        function balanceOf(address account) external view returns (uint256);
        function name() external view returns (string);
        function version() external view returns (string);
        function allowance(address owner, address spender) external view returns (uint256);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
    }

    interface IByKey {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
    }

    interface IByContract {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
    }

    interface IMulticall3 {
        struct Call3 { address target; bool allowFailure; bytes callData; }
        function aggregate3(Call3[] calls) external payable;
    }

    interface IWallet {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }
}

/// The call that settles: by `v, r, s` for 65 bytes, which every EIP-3009 token has, else by `bytes`.
fn settle_call(authorization: &Eip3009Authorization, signature: &Bytes) -> Bytes {
    let Eip3009Authorization { from, to, value, valid_after, valid_before, nonce } = *authorization;
    let (value, valid_after, valid_before) = (value.0, valid_after.0, valid_before.0);
    let by_key = <&[u8; 65]>::try_from(signature.as_ref()).ok().map(|signature| {
        let (r, s) = (B256::from_slice(&signature[..32]), B256::from_slice(&signature[32..64]));
        let call = IByKey::transferWithAuthorizationCall {
            from,
            to,
            value,
            validAfter: valid_after,
            validBefore: valid_before,
            nonce,
            v: signature[64],
            r,
            s,
        };
        call.abi_encode().into()
    });
    by_key.unwrap_or_else(|| {
        let call = IByContract::transferWithAuthorizationCall {
            from,
            to,
            value,
            validAfter: valid_after,
            validBefore: valid_before,
            nonce,
            signature: signature.clone(),
        };
        call.abi_encode().into()
    })
}

/// What a settlement moves, as its receipt must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) token: Address,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) amount: U256,
}

impl Transfer {
    /// What the payer signed, for `token`.
    pub(crate) fn of(payload: &ExactPayload, token: Address) -> Self {
        let (to, amount) = match payload {
            ExactPayload::Eip3009(p) => (p.authorization.to, p.authorization.value),
            ExactPayload::Permit2(p) => (p.permit2_authorization.witness.to, p.permit2_authorization.permitted.amount),
        };
        Self { token, from: payload.payer(), to, amount: amount.0 }
    }

    /// Whether the logs of a transaction show exactly this.
    pub(crate) fn is_in(&self, logs: &[Log]) -> bool {
        let topics = [IToken::Transfer::SIGNATURE_HASH, self.from.into_word(), self.to.into_word()];
        let amount = self.amount.to_be_bytes::<32>();
        logs.iter().any(|log| log.address() == self.token && log.topics() == topics && log.data().data.as_ref() == amount)
    }

    /// Whether the logs of a transaction show exactly this as what the payer's EIP-3009 authorization of this nonce moved: the token names the
    /// nonce right before it moves the money. Another transfer of the same amount says nothing of it, for a payer can sign a nonce twice.
    pub(crate) fn is_authorized_in(&self, logs: &[Log], nonce: B256) -> bool {
        let used = [IToken::AuthorizationUsed::SIGNATURE_HASH, self.from.into_word(), nonce];
        logs.windows(2).any(|pair| pair[0].address() == self.token && pair[0].topics() == used && self.is_in(&pair[1..]))
    }
}

/// What settles a payment: the contract called, and its input.
pub(crate) fn settlement(payload: &ExactPayload, token: Address, permit: Option<&Eip2612Permit>) -> (Address, Bytes) {
    match payload {
        ExactPayload::Eip3009(p) => (token, settle_call(&p.authorization, &p.signature)),
        ExactPayload::Permit2(p) => (PERMIT2_EXACT_PROXY, permit2::settle_call(p, permit)),
    }
}

/// Every call by which this very payload may have been sent: with or without the deployment of its payer.
pub(crate) fn calls_of(payload: &ExactPayload, token: Address, permit: Option<&Eip2612Permit>) -> Vec<Bytes> {
    let Ok(Some(wrapped)) = Erc6492Signature::parse(payload.signature()) else {
        return vec![settlement(payload, token, permit).1];
    };
    let (to, call) = settlement(&payload.clone().with_signature(wrapped.inner.clone()), token, permit);
    vec![call.clone(), deploy_and_settle(wrapped, to, call)]
}

/// Deploys the payer's wallet and settles, both or neither.
pub(crate) fn deploy_and_settle(wallet: Erc6492Signature, to: Address, settle: Bytes) -> Bytes {
    let call = |target, data| IMulticall3::Call3 { target, allowFailure: false, callData: data };
    let calls = vec![call(wallet.factory, wallet.factory_calldata), call(to, settle)];
    IMulticall3::aggregate3Call { calls }.abi_encode().into()
}
