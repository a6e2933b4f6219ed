use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    sol_types::{SolStruct, SolValue},
};
use serde::{Deserialize, Serialize};

use super::{ERC3009_COLLECTOR, PERMIT2_COLLECTOR, decimal};
use crate::{Eip2612Permit, Permit2Permitted, TokenAmount, TokenDomain, TransferMethod, exact::permit2_domain};

/// Structs a payer signs to deposit.
mod typed {
    #![allow(missing_docs)]
    pub(super) use crate::typed::ReceiveWithAuthorization;

    crate::exact::permit2_typed!(DepositWitness {
        bytes32 channelId;
    });
}

/// Money on its way into a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// Base units.
    #[serde(with = "decimal")]
    pub amount: u128,
    /// The payer's leave to take it.
    pub authorization: DepositAuthorization,
}

/// How the money is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DepositAuthorization {
    /// `receiveWithAuthorization` of the token.
    Erc3009Authorization(Erc3009Deposit),
    /// Permit2.
    Permit2Authorization(Permit2Deposit),
}

/// A deposit by EIP-3009.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erc3009Deposit {
    /// Unix seconds; valid strictly after.
    pub valid_after: TokenAmount,
    /// Unix seconds; valid strictly before.
    pub valid_before: TokenAmount,
    /// Random; the token's nonce is a hash of it and the channel. See [`deposit_nonce`].
    pub salt: B256,
    /// 65 bytes of a key, or whatever the payer's contract judges, or that wrapped as ERC-6492.
    pub signature: Bytes,
}

/// A deposit by Permit2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit2Deposit {
    /// The payer.
    pub from: Address,
    /// Token and amount.
    pub permitted: Permit2Permitted,
    /// Must be [`PERMIT2_COLLECTOR`].
    pub spender: Address,
    /// A bit of Permit2's bitmap.
    pub nonce: TokenAmount,
    /// Unix seconds; valid until and including.
    pub deadline: TokenAmount,
    /// Binds it to the channel.
    pub witness: Permit2DepositWitness,
    /// Of a key or of a contract.
    pub signature: Bytes,
}

/// What the collector enforces beyond Permit2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit2DepositWitness {
    /// The channel.
    pub channel_id: B256,
}

/// The nonce of the EIP-3009 authorization that deposits: it binds the money to the channel.
pub fn deposit_nonce(channel_id: B256, salt: B256) -> B256 {
    keccak256((channel_id, U256::from_be_bytes(salt.0)).abi_encode())
}

impl Erc3009Deposit {
    /// The hash the payer signs to put `amount` of `token` into the channel.
    pub fn signing_hash(&self, payer: Address, channel_id: B256, amount: u128, token: &TokenDomain) -> B256 {
        let message = typed::ReceiveWithAuthorization {
            from: payer,
            to: ERC3009_COLLECTOR,
            value: U256::from(amount),
            validAfter: self.valid_after.0,
            validBefore: self.valid_before.0,
            nonce: deposit_nonce(channel_id, self.salt),
        };
        message.eip712_signing_hash(&token.eip712())
    }

    /// What the collector is given; `signature` is the wallet's own, out of any wrapping.
    pub fn collector_data(&self, signature: Bytes) -> Bytes {
        let salt = U256::from_be_bytes(self.salt.0);
        (self.valid_after.0, self.valid_before.0, salt, signature).abi_encode_params().into()
    }
}

impl Permit2Deposit {
    /// The hash the payer signs.
    pub fn signing_hash(&self, chain_id: u64) -> B256 {
        let witness = typed::DepositWitness { channelId: self.witness.channel_id };
        let message = typed::PermitWitnessTransferFrom::new(&self.permitted, (self.spender, self.nonce, self.deadline), witness);
        message.eip712_signing_hash(&permit2_domain(chain_id))
    }

    /// What the collector is given, with the payer's permit for Permit2 when it brings one.
    pub fn collector_data(&self, permit: Option<&Eip2612Permit>) -> Bytes {
        let permit: Bytes = permit.and_then(permit_data).unwrap_or_default();
        (self.nonce.0, self.deadline.0, self.signature.clone(), permit).abi_encode_params().into()
    }
}

/// As the collector takes it; `None` for a signature that is not 65 bytes.
fn permit_data(permit: &Eip2612Permit) -> Option<Bytes> {
    let signature: &[u8; 65] = permit.signature.as_ref().try_into().ok()?;
    let (r, s) = (B256::from_slice(&signature[..32]), B256::from_slice(&signature[32..64]));
    Some((permit.amount.0, permit.deadline.0, U256::from(signature[64]), r, s).abi_encode_params().into())
}

impl DepositAuthorization {
    /// How the token moves.
    pub fn method(&self) -> TransferMethod {
        match self {
            Self::Erc3009Authorization(_) => TransferMethod::Eip3009,
            Self::Permit2Authorization(_) => TransferMethod::Permit2,
        }
    }

    /// The same with the payer's signature.
    pub fn signed(mut self, by_payer: Bytes) -> Self {
        match &mut self {
            Self::Erc3009Authorization(authorization) => authorization.signature = by_payer,
            Self::Permit2Authorization(authorization) => authorization.signature = by_payer,
        }
        self
    }

    /// The contract that takes the money.
    pub fn collector(&self) -> Address {
        match self {
            Self::Erc3009Authorization(_) => ERC3009_COLLECTOR,
            Self::Permit2Authorization(_) => PERMIT2_COLLECTOR,
        }
    }

    /// The payer's signature.
    pub fn signature(&self) -> &Bytes {
        match self {
            Self::Erc3009Authorization(authorization) => &authorization.signature,
            Self::Permit2Authorization(authorization) => &authorization.signature,
        }
    }

    /// The nonce that is used up by depositing into `channel_id`.
    pub fn nonce(&self, channel_id: B256) -> B256 {
        match self {
            Self::Erc3009Authorization(authorization) => deposit_nonce(channel_id, authorization.salt),
            Self::Permit2Authorization(authorization) => authorization.nonce.0.into(),
        }
    }

    /// Unix seconds after which it cannot be taken any more.
    pub fn valid_before(&self) -> u64 {
        match self {
            Self::Erc3009Authorization(authorization) => authorization.valid_before.0.saturating_to(),
            Self::Permit2Authorization(authorization) => authorization.deadline.0.saturating_to(),
        }
    }
}
