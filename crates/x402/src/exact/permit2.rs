use alloy::{
    primitives::{Address, B256, Bytes, U256, address},
    sol_types::{Eip712Domain, SolStruct},
};
use serde::{Deserialize, Serialize};

use crate::TokenAmount;

/// Uniswap's Permit2, at this address on every chain.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// `x402ExactPermit2Proxy`, at this address on every chain: the only spender of the scheme `exact`.
pub const PERMIT2_EXACT_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");

/// Permit2's typed data with a witness, which is all that differs from scheme to scheme.
macro_rules! permit2_typed {
    ($Witness:ident { $($fields:tt)* }) => {
        alloy::sol! {
            #[derive(Debug, PartialEq, Eq)]
            struct TokenPermissions {
                address token;
                uint256 amount;
            }

            #[derive(Debug, PartialEq, Eq)]
            struct $Witness {
                $($fields)*
            }

            #[derive(Debug, PartialEq, Eq)]
            struct PermitWitnessTransferFrom {
                TokenPermissions permitted;
                address spender;
                uint256 nonce;
                uint256 deadline;
                $Witness witness;
            }
        }

        impl PermitWitnessTransferFrom {
            pub(crate) fn new(
                permitted: &$crate::Permit2Permitted,
                (spender, nonce, deadline): (alloy::primitives::Address, $crate::TokenAmount, $crate::TokenAmount),
                witness: $Witness,
            ) -> Self {
                let permitted = TokenPermissions { token: permitted.token, amount: permitted.amount.0 };
                Self { permitted, spender, nonce: nonce.0, deadline: deadline.0, witness }
            }
        }
    };
}
pub(crate) use permit2_typed;

/// Structs of Permit2's typed data with the witness of the scheme `exact`.
pub(super) mod typed {
    #![allow(missing_docs)]
    super::permit2_typed!(Witness {
        address to;
        uint256 validAfter;
    });
}

/// The domain of Permit2, which has no version.
pub(crate) fn permit2_domain(chain_id: u64) -> Eip712Domain {
    Eip712Domain::new(Some("Permit2".into()), None, Some(U256::from(chain_id)), Some(PERMIT2), None)
}

/// `payload` of a payment by Permit2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit2Payload<W = Permit2Witness> {
    /// Of a key or of a contract.
    pub signature: Bytes,
    /// What is signed.
    pub permit2_authorization: Permit2Authorization<W>,
}

/// A transfer the proxy may carry out once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit2Authorization<W = Permit2Witness> {
    /// Token and amount.
    pub permitted: Permit2Permitted,
    /// Who pays.
    pub from: Address,
    /// Must be the scheme's proxy, [`Witness::PROXY`].
    pub spender: Address,
    /// A bit of Permit2's bitmap.
    pub nonce: TokenAmount,
    /// Unix seconds; valid until and including.
    pub deadline: TokenAmount,
    /// Who is paid, and from when.
    pub witness: W,
}

/// Token and amount of a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit2Permitted {
    /// The token.
    pub token: Address,
    /// Base units.
    pub amount: TokenAmount,
}

/// What a scheme's proxy enforces beyond Permit2, and the payer therefore signs.
pub trait Witness: Clone + PartialEq + std::fmt::Debug + Send + Sync {
    /// The proxy, which is the only spender.
    const PROXY: Address;
    /// Its typed data.
    type Typed: SolStruct;

    /// The typed struct of a permit with this witness.
    fn to_typed(permit: &Permit2Authorization<Self>) -> Self::Typed;
    /// Who is paid.
    fn payee(&self) -> Address;
    /// Unix seconds; valid from and including.
    fn valid_after(&self) -> TokenAmount;
}

/// What the proxy of the scheme `exact` enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit2Witness {
    /// Who is paid.
    pub to: Address,
    /// Unix seconds; valid from and including.
    pub valid_after: TokenAmount,
}

impl Witness for Permit2Witness {
    const PROXY: Address = PERMIT2_EXACT_PROXY;
    type Typed = typed::PermitWitnessTransferFrom;

    fn to_typed(permit: &Permit2Authorization) -> Self::Typed {
        let witness = typed::Witness { to: permit.witness.to, validAfter: permit.witness.valid_after.0 };
        let Permit2Authorization { permitted, spender, nonce, deadline, .. } = permit;
        typed::PermitWitnessTransferFrom::new(permitted, (*spender, *nonce, *deadline), witness)
    }

    fn payee(&self) -> Address {
        self.to
    }

    fn valid_after(&self) -> TokenAmount {
        self.valid_after
    }
}

impl<W: Witness> Permit2Authorization<W> {
    /// The hash that is signed.
    pub fn signing_hash(&self, chain_id: u64) -> B256 {
        self.to_typed().eip712_signing_hash(&permit2_domain(chain_id))
    }

    /// The typed struct.
    pub fn to_typed(&self) -> W::Typed {
        W::to_typed(self)
    }
}
