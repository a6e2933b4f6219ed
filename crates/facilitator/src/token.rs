//! The token's calls, with and without a contract's signature.

use alloy::{
    primitives::{Address, B256, Bytes, address},
    rpc::types::Log,
    sol,
    sol_types::{SolCall, SolEvent},
};
use x402::{Eip3009Authorization, Eip3009Payload, Erc6492Signature, recover_strict};

/// Multicall3, on every chain. It owns no wallets, so what a factory does with it as its caller harms nobody.
pub(crate) const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

sol! {
    #![sol(all_derives)]
    interface IToken {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        function balanceOf(address account) external view returns (uint256);
        function name() external view returns (string);
        function version() external view returns (string);
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
pub(crate) fn settle_call(authorization: &Eip3009Authorization, signature: &Bytes) -> Bytes {
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

/// Whether the logs of a transaction show exactly this transfer.
pub(crate) fn shows_transfer(logs: &[Log], token: Address, authorization: &Eip3009Authorization) -> bool {
    logs.iter()
        .filter(|log| log.address() == token)
        .filter_map(|log| IToken::Transfer::decode_log(&log.inner).ok())
        .any(|event| (event.from, event.to, event.value) == (authorization.from, authorization.to, authorization.value.0))
}

/// Whether the payer's own key signed: for accounts without code.
pub(crate) fn signed_by_key(payload: &Eip3009Payload, domain: &x402::TokenDomain) -> bool {
    recover_strict(payload.authorization.signing_hash(domain), &payload.signature) == Some(payload.authorization.from)
}

/// Every call by which this very payload may have been sent: with or without the deployment of its payer.
pub(crate) fn calls_of(payload: &Eip3009Payload, token: Address) -> Vec<Bytes> {
    let Ok(Some(wrapped)) = Erc6492Signature::parse(&payload.signature) else {
        return vec![settle_call(&payload.authorization, &payload.signature)];
    };
    let call = settle_call(&payload.authorization, &wrapped.inner);
    vec![call.clone(), deploy_and_settle(wrapped, token, call)]
}

/// Deploys the payer's wallet and settles, both or neither.
pub(crate) fn deploy_and_settle(wallet: Erc6492Signature, token: Address, settle: Bytes) -> Bytes {
    let call = |target, data| IMulticall3::Call3 { target, allowFailure: false, callData: data };
    let calls = vec![call(wallet.factory, wallet.factory_calldata), call(token, settle)];
    IMulticall3::aggregate3Call { calls }.abi_encode().into()
}
