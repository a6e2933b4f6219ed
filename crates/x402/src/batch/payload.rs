use alloy::primitives::{Address, Bytes};
use serde::{Deserialize, Serialize};

use super::{ChannelConfig, Deposit, Voucher, decimal};
use crate::{JsonMap, PayloadError, TokenAmount};

/// What travels as `payload` in this scheme: the first three from client to server, the last three from server to facilitator (a refund
/// with the fields the server adds).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BatchPayload {
    /// Money into the channel, and the first voucher on it.
    Deposit(DepositPayload),
    /// One request's voucher.
    Voucher(VoucherPayload),
    /// Gives back what was not spent.
    Refund(RefundPayload),
    /// Claims vouchers of any number of channels.
    #[serde(rename_all = "camelCase")]
    Claim {
        /// The vouchers.
        claims: Vec<Claim>,
        /// Of the receiver's authorizer; missing when the facilitator is it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claim_authorizer_signature: Option<Bytes>,
    },
    /// Pays out what was claimed.
    Settle {
        /// Who is paid.
        receiver: Address,
        /// In which token.
        token: Address,
    },
}

/// A deposit with the voucher it is made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DepositPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// What this request may cost, on top of all before.
    pub voucher: Voucher,
    /// The money.
    pub deposit: Deposit,
}

/// A voucher on a channel that has the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoucherPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// What this request may cost, on top of all before.
    pub voucher: Voucher,
}

/// The wish to get back what was not spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// A ceiling of exactly what was charged so far.
    pub voucher: Voucher,
    /// Base units; all there is when missing.
    #[serde(default, with = "decimal::option", skip_serializing_if = "Option::is_none")]
    pub amount: Option<u128>,
    /// Added by the server: the channel's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_nonce: Option<TokenAmount>,
    /// Added by the server: what is claimed before the rest is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<Claim>>,
    /// Added by the server, when it is the receiver's authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_authorizer_signature: Option<Bytes>,
    /// Added by the server, when it is the receiver's authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_authorizer_signature: Option<Bytes>,
}

/// One voucher to claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Channel and ceiling.
    pub voucher: ClaimVoucher,
    /// The payer's side's.
    pub signature: Bytes,
    /// What is taken in all, at most the ceiling. Nothing happens when as much was claimed before.
    #[serde(with = "decimal")]
    pub total_claimed: u128,
}

/// What a claimed voucher says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVoucher {
    /// The channel.
    pub channel: ChannelConfig,
    /// The ceiling.
    #[serde(with = "decimal")]
    pub max_claimable_amount: u128,
}

/// Longest signature read. Wallets that bring their factory need a few KiB.
const SIGNATURE_LEN_MAX_BYTES: usize = 16 * 1024;

impl BatchPayload {
    /// Reads the payload of a payment.
    ///
    /// # Errors
    /// [`PayloadError`] says what is wrong with it.
    pub fn from_json(payload: &JsonMap) -> Result<Self, PayloadError> {
        let malformed = |e: serde_json::Error| PayloadError::Malformed(e.to_string().chars().take(200).collect());
        let payload = Self::deserialize(payload).map_err(malformed)?;
        let deposit = if let Self::Deposit(p) = &payload { p.deposit.authorization.signature().len() } else { 0 };
        let voucher = payload.voucher().map_or(0, |voucher| voucher.signature.len());
        match deposit.max(voucher) {
            len if len > SIGNATURE_LEN_MAX_BYTES => Err(PayloadError::SignatureTooLong(len)),
            _ => Ok(payload),
        }
    }

    /// As the `payload` of a payment.
    pub fn to_json(&self) -> JsonMap {
        match serde_json::to_value(self).expect("maps with text keys serialize") {
            serde_json::Value::Object(map) => map,
            _ => unreachable!("every variant is an object"),
        }
    }

    /// The channel of a payload that a client sends.
    pub fn channel_config(&self) -> Option<&ChannelConfig> {
        match self {
            Self::Deposit(p) => Some(&p.channel_config),
            Self::Voucher(p) => Some(&p.channel_config),
            Self::Refund(p) => Some(&p.channel_config),
            Self::Claim { .. } | Self::Settle { .. } => None,
        }
    }

    /// The voucher of a payload that a client sends.
    pub fn voucher(&self) -> Option<&Voucher> {
        match self {
            Self::Deposit(p) => Some(&p.voucher),
            Self::Voucher(p) => Some(&p.voucher),
            Self::Refund(p) => Some(&p.voucher),
            Self::Claim { .. } | Self::Settle { .. } => None,
        }
    }
}
