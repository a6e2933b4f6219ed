use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::{Eip712Domain, SolStruct},
};
use serde::{Deserialize, Serialize};

use crate::{PaymentRequirements, TokenAmount};

/// Structs of the token's typed data.
pub(super) mod typed {
    #![allow(missing_docs)]
    alloy::sol! {
        #[derive(Debug, PartialEq, Eq)]
        struct TransferWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }

        #[derive(Debug, PartialEq, Eq)]
        struct ReceiveWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }
    }
}

/// `payload` of a payment by EIP-3009.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eip3009Payload {
    /// 65 bytes of a key, or whatever the payer's contract judges, or that wrapped as ERC-6492.
    pub signature: Bytes,
    /// What is signed.
    pub authorization: Eip3009Authorization,
}

/// A transfer anybody may carry out once, within its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eip3009Authorization {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// Base units.
    pub value: TokenAmount,
    /// Unix seconds; valid strictly after.
    pub valid_after: TokenAmount,
    /// Unix seconds; valid strictly before.
    pub valid_before: TokenAmount,
    /// Never used before by this payer.
    pub nonce: B256,
}

impl Eip3009Authorization {
    /// The hash that is signed, for the token's domain.
    pub fn signing_hash(&self, token: &TokenDomain) -> B256 {
        self.to_typed().eip712_signing_hash(&token.eip712())
    }

    /// The typed struct.
    pub fn to_typed(&self) -> typed::TransferWithAuthorization {
        typed::TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: self.value.0,
            validAfter: self.valid_after.0,
            validBefore: self.valid_before.0,
            nonce: self.nonce,
        }
    }
}

/// The EIP-712 domain of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenDomain {
    /// `name`.
    pub name: String,
    /// `version`.
    pub version: String,
    /// `chainId`.
    pub chain_id: u64,
    /// `verifyingContract`: the token.
    pub asset: Address,
}

impl TokenDomain {
    /// The domain an offer names in `network`, `asset`, `extra.name` and `extra.version`; `None` when one is missing.
    pub fn of(requirements: &PaymentRequirements) -> Option<Self> {
        let text = |key| requirements.extra_str(key).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            name: text("name")?,
            version: text("version")?,
            chain_id: requirements.network.chain_id()?,
            asset: requirements.asset_address()?,
        })
    }

    /// As alloy has it.
    pub fn eip712(&self) -> Eip712Domain {
        let (name, version) = (self.name.clone().into(), self.version.clone().into());
        Eip712Domain::new(Some(name), Some(version), Some(U256::from(self.chain_id)), Some(self.asset), None)
    }

    /// The domain separator, for callers that hash many messages of one token.
    pub fn separator(&self) -> B256 {
        self.eip712().separator()
    }
}
