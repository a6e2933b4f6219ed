use std::sync::LazyLock;

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U40, keccak256},
    sol_types::{Eip712Domain, SolStruct},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{BATCH_CONTRACT, WITHDRAW_DELAY_MAX_SECS, WITHDRAW_DELAY_MIN_SECS, abi::sol, decimal};
use crate::{PaymentRequirements, Reason, Scheme, recover_strict};

/// What every request hashes, once.
static CHANNEL_CONFIG: LazyLock<B256> = LazyLock::new(type_hash::<sol::ChannelConfig>);
static VOUCHER: LazyLock<B256> = LazyLock::new(type_hash::<sol::Voucher>);
static REFUND: LazyLock<B256> = LazyLock::new(type_hash::<sol::Refund>);
static CLAIM_BATCH: LazyLock<B256> = LazyLock::new(type_hash::<sol::ClaimBatch>);

fn type_hash<T: SolStruct>() -> B256 {
    keccak256(T::eip712_encode_type().as_bytes())
}

/// The contract on one chain: what every hash of the scheme is bound to. Keep it; its separator is hashed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The chain's id.
    pub id: u64,
    separator: B256,
}

impl Chain {
    /// The contract on the chain with this id.
    pub fn new(id: u64) -> Self {
        let (name, version) = ("x402 Batch Settlement".into(), "1".into());
        let domain = Eip712Domain::new(Some(name), Some(version), Some(U256::from(id)), Some(BATCH_CONTRACT), None);
        Self { id, separator: domain.separator() }
    }

    /// The chain an offer names; `None` for one that is not an EVM chain.
    pub fn of(requirements: &PaymentRequirements) -> Option<Self> {
        requirements.network.chain_id().map(Self::new)
    }

    fn hash(&self, type_hash: &B256, message: &impl SolStruct) -> B256 {
        let message = keccak256([type_hash.as_slice(), &message.eip712_encode_data()].concat());
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(&[0x19, 0x01]);
        bytes[2..34].copy_from_slice(self.separator.as_slice());
        bytes[34..].copy_from_slice(message.as_slice());
        keccak256(bytes)
    }

    /// The channel with this configuration, which is its hash.
    pub fn channel_id(&self, config: &ChannelConfig) -> B256 {
        self.hash(&CHANNEL_CONFIG, &config.to_typed())
    }

    /// What the payer's side signs to let the payee claim up to `ceiling` in all.
    pub fn voucher_hash(&self, channel_id: B256, ceiling: u128) -> B256 {
        self.hash(&VOUCHER, &sol::Voucher { channelId: channel_id, maxClaimableAmount: ceiling })
    }

    /// What the receiver's authorizer signs to give `amount` back; `nonce` is the channel's `refundNonce`.
    pub fn refund_hash(&self, channel_id: B256, nonce: U256, amount: u128) -> B256 {
        self.hash(&REFUND, &sol::Refund { channelId: channel_id, nonce, amount })
    }

    /// What the receiver's authorizer signs to let anybody send these claims.
    pub fn claim_batch_hash(&self, claims: &[super::Claim]) -> B256 {
        let claims = claims.iter().map(|claim| sol::ClaimEntry {
            channelId: self.channel_id(&claim.voucher.channel),
            maxClaimableAmount: claim.voucher.max_claimable_amount,
            totalClaimed: claim.total_claimed,
        });
        self.hash(&CLAIM_BATCH, &sol::ClaimBatch { claims: claims.collect() })
    }
}

/// Everything that never changes about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Who deposits, and gets back what was not claimed.
    pub payer: Address,
    /// The key that signs vouchers; zero when the payer signs itself, as a contract wallet does.
    pub payer_authorizer: Address,
    /// Who is paid.
    pub receiver: Address,
    /// The key that signs claims and refunds.
    pub receiver_authorizer: Address,
    /// The token.
    pub token: Address,
    /// Seconds between the announcement of a withdrawal and the withdrawal. The payee must claim within.
    #[serde(deserialize_with = "uint40")]
    pub withdraw_delay: u64,
    /// Tells channels of the same parties apart.
    pub salt: B256,
}

fn uint40<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds if seconds < 1 << 40 => Ok(seconds),
        _ => Err(D::Error::custom("withdrawDelay is more than a uint40 holds")),
    }
}

impl ChannelConfig {
    /// The typed struct, as the contract takes it.
    pub(crate) fn to_typed(self) -> sol::ChannelConfig {
        sol::ChannelConfig {
            payer: self.payer,
            payerAuthorizer: self.payer_authorizer,
            receiver: self.receiver,
            receiverAuthorizer: self.receiver_authorizer,
            token: self.token,
            // Both ways of making one keep it below 2^40; a greater one would only make a hash that no chain knows.
            withdrawDelay: U40::saturating_from(self.withdraw_delay),
            salt: self.salt,
        }
    }

    /// Whether this is a channel through which the offer can be paid, in the order of the official facilitator.
    ///
    /// # Errors
    /// The reason to give when it is not.
    pub fn check(&self, chain: &Chain, channel_id: B256, requirements: &PaymentRequirements) -> Result<(), Reason> {
        if chain.channel_id(self) != channel_id {
            return Err(Reason::BatchChannelIdMismatch);
        }
        self.check_terms(requirements)
    }

    /// The same for a channel that has this configuration.
    pub(crate) fn check_terms(&self, requirements: &PaymentRequirements) -> Result<(), Reason> {
        if requirements.pay_to_address() != Some(self.receiver) {
            return Err(Reason::BatchReceiverMismatch);
        }
        let authorizer = requirements.extra_str("receiverAuthorizer").and_then(|text| text.parse::<Address>().ok());
        if authorizer.is_none_or(|wanted| wanted.is_zero() || wanted != self.receiver_authorizer) {
            return Err(Reason::BatchReceiverAuthorizerMismatch);
        }
        if requirements.asset_address() != Some(self.token) {
            return Err(Reason::BatchTokenMismatch);
        }
        if withdraw_delay(requirements).is_some_and(|wanted| wanted != self.withdraw_delay) {
            return Err(Reason::BatchWithdrawDelayMismatch);
        }
        if !(WITHDRAW_DELAY_MIN_SECS..=WITHDRAW_DELAY_MAX_SECS).contains(&self.withdraw_delay) {
            return Err(Reason::BatchWithdrawDelayOutOfRange);
        }
        Ok(())
    }
}

/// The delay an offer asks for, if it does.
pub(crate) fn withdraw_delay(requirements: &PaymentRequirements) -> Option<u64> {
    let value = requirements.extra.as_ref()?.get("withdrawDelay")?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A signed ceiling: the payee may claim up to it from the channel, in all and not once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voucher {
    /// The channel.
    pub channel_id: B256,
    /// Base units, over the channel's whole life.
    #[serde(with = "decimal")]
    pub max_claimable_amount: u128,
    /// Of the channel's `payerAuthorizer`, or of its payer when that is zero.
    pub signature: Bytes,
}

impl Voucher {
    /// Who signed it, as the contract recovers it; meant for channels with a `payerAuthorizer`.
    pub fn signer(&self, chain: &Chain) -> Option<Address> {
        recover_strict(chain.voucher_hash(self.channel_id, self.max_claimable_amount), &self.signature)
    }
}

impl PaymentRequirements {
    /// The same offer, paid through a channel whose claims and refunds `receiver_authorizer` signs, and from which the payer can
    /// withdraw by itself `withdraw_delay_secs` after it said so.
    pub fn by_channel(mut self, receiver_authorizer: Address, withdraw_delay_secs: u64) -> Self {
        self.scheme = Scheme::BatchSettlement.as_str().into();
        let extra = self.extra.get_or_insert_default();
        extra.insert("receiverAuthorizer".into(), receiver_authorizer.to_checksum(None).into());
        extra.insert("withdrawDelay".into(), withdraw_delay_secs.into());
        self
    }
}
