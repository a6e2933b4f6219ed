use alloy::primitives::{Address, B256, keccak256};
use serde::{Deserialize, Serialize};

use super::{JsonMap, PaymentRequirements, ResourceInfo, V2};
use crate::{
    ExactPayload, Network, PayloadError, Scheme, TransferMethod,
    batch::{BatchPayload, Chain},
};

/// A signed payment, as a client sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always 2.
    pub x402_version: V2,
    /// What is bought, echoed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceInfo>,
    /// The offer taken, echoed.
    pub accepted: PaymentRequirements,
    /// What the scheme asks for. See [`Self::exact`].
    pub payload: JsonMap,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonMap>,
}

impl PaymentPayload {
    /// The payload of the scheme `exact` on EVM chains.
    ///
    /// # Errors
    /// [`PayloadError`] when it is not one.
    pub fn exact(&self) -> Result<ExactPayload, PayloadError> {
        ExactPayload::from_json(&self.payload)
    }

    /// What makes this payment the same one wherever it turns up. Read from what is signed, never from what surrounds it.
    ///
    /// # Errors
    /// [`PayloadError`] when the payload is not one of its scheme, or the scheme is not known here.
    pub fn key(&self) -> Result<PaymentKey, PayloadError> {
        match Scheme::of(&self.accepted) {
            Some(Scheme::Exact) => self.exact_key(),
            Some(Scheme::Upto) => self.upto_key(),
            Some(Scheme::BatchSettlement) => self.channel_key(&BatchPayload::from_json(&self.payload)?),
            Some(Scheme::AuthCapture) => self.collect_key(),
            None => Err(PayloadError::UnknownType),
        }
    }

    /// The key of a voucher: its payload is `payload`.
    pub(crate) fn channel_key(&self, payload: &BatchPayload) -> Result<PaymentKey, PayloadError> {
        let (Some(config), Some(voucher), Some(chain)) = (payload.channel_config(), payload.voucher(), Chain::of(&self.accepted))
        else {
            return Err(PayloadError::UnknownType);
        };
        Ok(PaymentKey {
            network: self.accepted.network.clone(),
            method: TransferMethod::Eip3009,
            asset: config.token,
            payer: config.payer,
            nonce: chain.voucher_hash(voucher.channel_id, voucher.max_claimable_amount),
        })
    }

    fn exact_key(&self) -> Result<PaymentKey, PayloadError> {
        let exact = self.exact()?;
        let asset = match &exact {
            ExactPayload::Eip3009(_) => self.accepted.asset_address().ok_or(PayloadError::AssetNotAnAddress)?,
            ExactPayload::Permit2(p) => p.permit2_authorization.permitted.token,
        };
        Ok(PaymentKey {
            network: self.accepted.network.clone(),
            method: exact.method(),
            asset,
            payer: exact.payer(),
            nonce: exact.nonce(),
        })
    }
}

/// A payment on its chain: two payments with one key can never both settle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentKey {
    /// The chain.
    pub network: Network,
    /// How the token moves: EIP-3009 and Permit2 count nonces apart.
    pub method: crate::TransferMethod,
    /// The token.
    pub asset: Address,
    /// Who pays.
    pub payer: Address,
    /// The nonce the payer signed.
    pub nonce: B256,
}

impl PaymentKey {
    /// 32 bytes for stores that want a short key.
    pub fn digest(&self) -> B256 {
        let Self { network, method, asset, payer, nonce } = self;
        keccak256(format!("{network}/{}/{asset:x}/{payer:x}/{nonce:x}", method.as_str()))
    }
}
