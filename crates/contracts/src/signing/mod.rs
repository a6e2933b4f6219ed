//! What people and agents sign for our contracts and for USDC: every EIP-712 message, and the bytes in which signatures reach the chain.
//!
//! A [`Message`] is a struct with the domain it is signed under. Each module makes those of one contract:
//!
//! | module | messages | the contract takes the signature in |
//! |---|---|---|
//! | [`treasury`] | `Order`, `Change`, `Cancellation`; `TopUp` | [`Approvals::for_treasury`]; the nonce of a `ReceiveWithAuthorization` |
//! | [`wallet`] | `Payment` | 65 bytes of the operator, and [`Approvals::for_wallet`] |
//! | [`lane`] | `TransferWithAuthorization` of an agent wallet | 128 bytes, [`lane::LanePayment::signature`] |
//! | [`escrow`] | `Terms`, whose digest is the agreement's id; `Release` | the nonce of a `ReceiveWithAuthorization`; 65 bytes |
//! | [`router`] | `Payment`, `Batch`, `Split`; `Subscribe`, `Cancel`, `PriceChange` | the nonce of a `ReceiveWithAuthorization`; 65 bytes |
//! | [`registry`] | `Feedback` | 65 bytes |
//! | [`usdc`] | `TransferWithAuthorization`, `ReceiveWithAuthorization`, `CancelAuthorization`, `Permit` | 65 bytes |
//!
//! A Treasury or an AgentWallet signs any message of anybody's contract by ERC-7739: see [`nested`].
//!
//! ```
//! use alloy::signers::local::PrivateKeySigner;
//! use contracts::{Deployment, signing::{Approvals, escrow}};
//!
//! let deployment = Deployment::for_chain(84532)?;
//! let buyer = PrivateKeySigner::random();
//! let release = escrow::Release { agreement: [7; 32].into(), total: "5000000".parse()?, deadline: "1800000000".parse()? };
//! let message = escrow::release(release, deployment.escrow, deployment.chain_id);
//! let signature = message.sign(&buyer)?;
//! assert_eq!(signature.recover_address_from_prehash(&message.digest())?, buyer.address());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod approvals;
pub mod escrow;
pub mod lane;
pub mod nested;
pub mod registry;
pub mod router;
pub mod treasury;
pub mod usdc;
pub mod wallet;

use std::borrow::Cow;

use alloy::{
    dyn_abi::{Resolver, TypedData},
    primitives::{Address, B256, Signature, U256},
    signers::SignerSync,
    sol_types::{Eip712Domain, SolStruct, SolValue},
};

use crate::reading;

pub use approvals::{ApprovalError, Approvals};

/// A struct as a contract wants it signed, with the domain of that contract.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<T> {
    /// Which contract, on which chain.
    pub domain: Eip712Domain,
    /// What is signed.
    pub content: T,
}

impl<T: SolStruct> Message<T> {
    /// `encodeType` of EIP-712: the struct's name and members, then the structs they name.
    pub fn type_string() -> Cow<'static, str> {
        T::eip712_encode_type()
    }

    /// `hashStruct` of EIP-712.
    pub fn struct_hash(&self) -> B256 {
        self.content.eip712_hash_struct()
    }

    /// What is signed. Of an order, a change and an agreement also the id.
    pub fn digest(&self) -> B256 {
        self.content.eip712_signing_hash(&self.domain)
    }

    /// Signs with a key at hand. A device that shows what it signs takes the same message by `Signer::sign_typed_data` or
    /// [`Message::typed_data`].
    ///
    /// # Errors
    /// Those of the signer; a key in memory has none.
    pub fn sign(&self, signer: &impl SignerSync) -> alloy::signers::Result<Signature> {
        signer.sign_typed_data_sync(&self.content, &self.domain)
    }

    /// As wallets show it and `eth_signTypedData_v4` takes it.
    pub fn typed_data(&self) -> TypedData
    where
        T: SolValue<SolType = T>,
    {
        let resolver = Resolver::from_struct::<T>();
        let resolved = resolver.resolve(T::NAME).expect("sol! made all of its types");
        let value = resolved.abi_decode(&SolValue::abi_encode(&self.content)).expect("it was encoded as the same type");
        TypedData { domain: self.domain.clone(), resolver, primary_type: T::NAME.to_owned(), message: reading::json(value, &[]) }
    }
}

/// A domain of one of our contracts.
fn domain(name: &'static str, contract: Address, chain_id: u64) -> Eip712Domain {
    Eip712Domain::new(Some(name.into()), Some("1".into()), Some(U256::from(chain_id)), Some(contract), None)
}
