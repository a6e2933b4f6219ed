use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};

use super::{ChannelConfig, Claim};

/// The contract's types, those that are hashed included.
pub(super) mod sol {
    #![allow(missing_docs)]
    alloy::sol! {
        #![sol(all_derives)]

        struct ChannelConfig {
            address payer;
            address payerAuthorizer;
            address receiver;
            address receiverAuthorizer;
            address token;
            uint40 withdrawDelay;
            bytes32 salt;
        }

        struct Voucher { bytes32 channelId; uint128 maxClaimableAmount; }
        struct Refund { bytes32 channelId; uint256 nonce; uint128 amount; }
        struct ClaimEntry { bytes32 channelId; uint128 maxClaimableAmount; uint128 totalClaimed; }
        struct ClaimBatch { ClaimEntry[] claims; }

        struct ClaimedVoucher { ChannelConfig channel; uint128 maxClaimableAmount; }
        struct VoucherClaim { ClaimedVoucher voucher; bytes signature; uint128 totalClaimed; }

        /// `x402BatchSettlement`: what is called of it, and what its receipts show.
        interface IBatchSettlement {
            event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);

            function multicall(bytes[] data) external returns (bytes[] results);
            function deposit(ChannelConfig config, uint128 amount, address collector, bytes collectorData) external;
            function claimWithSignature(VoucherClaim[] voucherClaims, bytes authorizerSignature) external;
            function settle(address receiver, address token) external;
            function initiateWithdraw(ChannelConfig config, uint128 amount) external;
            function finalizeWithdraw(ChannelConfig config) external;
            function refundWithSignature(ChannelConfig config, uint128 amount, uint256 nonce, bytes receiverAuthorizerSignature) external;
            function getChannelId(ChannelConfig config) external view returns (bytes32);
            function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed);
            function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt);
            function receivers(address receiver, address token) external view returns (uint128 totalClaimed, uint128 totalSettled);
            function refundNonce(bytes32 channelId) external view returns (uint256);
        }
    }
}

use sol::IBatchSettlement;

/// Input of the call that puts `deposit` into the channel; `data` is for its collector.
pub fn deposit_call(config: &ChannelConfig, amount: u128, collector: Address, data: Bytes) -> Bytes {
    let config = config.to_typed();
    IBatchSettlement::depositCall { config, amount, collector, collectorData: data }.abi_encode().into()
}

/// Input of the call that claims, which anybody may send.
pub fn claim_call(claims: &[Claim], authorizer_signature: Bytes) -> Bytes {
    let claims = claims.iter().map(|claim| sol::VoucherClaim {
        voucher: sol::ClaimedVoucher {
            channel: claim.voucher.channel.to_typed(),
            maxClaimableAmount: claim.voucher.max_claimable_amount,
        },
        signature: claim.signature.clone(),
        totalClaimed: claim.total_claimed,
    });
    let call =
        IBatchSettlement::claimWithSignatureCall { voucherClaims: claims.collect(), authorizerSignature: authorizer_signature };
    call.abi_encode().into()
}

/// Input of the call that gives back, which anybody may send.
pub fn refund_call(config: &ChannelConfig, amount: u128, nonce: U256, authorizer_signature: Bytes) -> Bytes {
    let config = config.to_typed();
    let call =
        IBatchSettlement::refundWithSignatureCall { config, amount, nonce, receiverAuthorizerSignature: authorizer_signature };
    call.abi_encode().into()
}

/// Input of the call that pays out what was claimed, which anybody may send.
pub fn settle_call(receiver: Address, token: Address) -> Bytes {
    IBatchSettlement::settleCall { receiver, token }.abi_encode().into()
}

/// Input of the call that makes all of `calls` or none.
pub fn multicall(calls: Vec<Bytes>) -> Bytes {
    IBatchSettlement::multicallCall { data: calls }.abi_encode().into()
}

/// Input of the call by which the payer, or its authorizer, announces that it takes back `amount`.
pub fn initiate_withdraw_call(config: &ChannelConfig, amount: u128) -> Bytes {
    IBatchSettlement::initiateWithdrawCall { config: config.to_typed(), amount }.abi_encode().into()
}

/// Input of the call that takes back what was announced, `withdrawDelay` after.
pub fn finalize_withdraw_call(config: &ChannelConfig) -> Bytes {
    IBatchSettlement::finalizeWithdrawCall { config: config.to_typed() }.abi_encode().into()
}
