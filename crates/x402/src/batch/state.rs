use alloy::primitives::{B256, Bytes};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::decimal;
use crate::{JsonMap, TokenAmount};

/// What the chain, and the server, know of a channel. In `extra` of a verification flat, else under `channelState`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelState {
    /// The channel.
    pub channel_id: B256,
    /// Deposited and not refunded or withdrawn, claimed included, in base units.
    #[serde(with = "decimal")]
    pub balance: u128,
    /// Claimed so far, in base units.
    #[serde(with = "decimal")]
    pub total_claimed: u128,
    /// Unix seconds of the announcement of a withdrawal; 0 when there is none.
    #[serde(default)]
    pub withdraw_requested_at: u64,
    /// Nonce of the next refund.
    #[serde(default, deserialize_with = "text_or_number")]
    pub refund_nonce: TokenAmount,
    /// What the server charged so far, claimed or not, in base units. The chain does not know it.
    #[serde(default, with = "decimal::option", skip_serializing_if = "Option::is_none")]
    pub charged_cumulative_amount: Option<u128>,
}

/// The official packages write the nonce as text in one place and as a number in another.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TokenAmount, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nonce {
        Text(TokenAmount),
        Number(u64),
    }
    Ok(match Nonce::deserialize(deserializer)? {
        Nonce::Text(nonce) => nonce,
        Nonce::Number(nonce) => nonce.into(),
    })
}

/// The last voucher a server holds, which proves to the payer what it signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoucherState {
    /// Its ceiling.
    #[serde(with = "decimal")]
    pub signed_max_claimable: u128,
    /// Its signature.
    pub signature: Bytes,
}

impl ChannelState {
    /// As `extra` of a verification.
    pub fn to_extra(&self) -> JsonMap {
        object(self)
    }

    /// From `extra` of a verification (flat) or of a settlement (under `channelState`).
    pub fn from_extra(extra: Option<&JsonMap>) -> Option<Self> {
        let extra = extra?;
        let state = extra.get("channelState").cloned().unwrap_or_else(|| Value::Object(extra.clone()));
        serde_json::from_value(state).ok()
    }
}

pub(crate) fn object(value: &impl Serialize) -> JsonMap {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("only structs with text keys are given"),
    }
}
