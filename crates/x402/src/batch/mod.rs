//! The scheme `batch-settlement` on EVM chains: payment channels. A payer deposits once, signs a *voucher* per request (a cumulative
//! ceiling of what the payee may claim from the channel), and the payee claims whenever it likes. A request costs no transaction.

mod abi;
mod channel;
mod deposit;
mod payload;
mod state;

pub use abi::{
    claim_call, deposit_call, finalize_withdraw_call, initiate_withdraw_call, multicall, refund_call, settle_call,
    sol::IBatchSettlement,
};
#[cfg(feature = "client")]
pub(crate) use channel::withdraw_delay;
pub use channel::{Chain, ChannelConfig, Voucher};
pub use deposit::{Deposit, DepositAuthorization, Erc3009Deposit, Permit2Deposit, Permit2DepositWitness, deposit_nonce};
pub use payload::{BatchPayload, Claim, ClaimVoucher, DepositPayload, RefundPayload, VoucherPayload};
pub use state::{ChannelState, VoucherState};

use alloy::primitives::{Address, address};

/// `x402BatchSettlement`, at this address on every chain: holds the deposits.
pub const BATCH_CONTRACT: Address = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");
/// Takes a deposit by EIP-3009.
pub const ERC3009_COLLECTOR: Address = address!("4020806089470a89826cB9fB1f4059150b550004");
/// Takes a deposit by Permit2.
pub const PERMIT2_COLLECTOR: Address = address!("4020425FAf3B746C082C2f942b4E5159887B0005");
/// Least seconds between a payer's announcement of a withdrawal and the withdrawal.
pub const WITHDRAW_DELAY_MIN_SECS: u64 = 900;
/// Most seconds of the same.
pub const WITHDRAW_DELAY_MAX_SECS: u64 = 2_592_000;

/// An amount on the wire: decimal text, at most what a `uint128` holds.
pub(crate) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::TokenAmount;

    pub(crate) fn serialize<S: Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let amount = TokenAmount::deserialize(deserializer)?;
        u128::try_from(amount.0).map_err(|_| D::Error::custom("an amount is more than a uint128 holds"))
    }

    /// The same where it may be missing.
    pub(crate) mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(amount: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
            match amount {
                Some(amount) => serializer.collect_str(amount),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
            #[derive(Deserialize)]
            struct Amount(#[serde(with = "super")] u128);
            Ok(Option::<Amount>::deserialize(deserializer)?.map(|amount| amount.0))
        }
    }
}
