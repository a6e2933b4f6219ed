//! Signatures of accounts that are contracts (EIP-1271), in the form of ERC-7739.
//!
//! A Treasury or an AgentWallet never agrees to a bare hash: what its owners sign names the account, so it counts for no other account of
//! theirs. The owner of an AgentWallet signs [`Nested::digest`] or [`personal`] by key; owners of a Treasury collect
//! [`Approvals`](super::Approvals) over it. Where a Treasury owns a wallet, the owners approve [`personal`] of the wallet's digest.

use std::borrow::Cow;

use alloy::{
    primitives::{Address, B256, Bytes, Keccak256, U256, keccak256},
    sol_types::{Eip712Domain, SolStruct, SolValue},
};

use super::Message;

/// What the owner of an account signs to have the account sign a message of another contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Of the contract that the message is for.
    app_separator: B256,
    contents: B256,
    contents_type: String,
    digest: B256,
}

impl Nested {
    /// `message`, signed for by the account whose domain is `account`: [`treasury::domain`](super::treasury::domain) or
    /// [`wallet::domain`](super::wallet::domain).
    ///
    /// The digest is of `TypedDataSign(<Name> contents,string name,string version,uint256 chainId,address verifyingContract,bytes32
    /// salt)<type of the message>` under the domain of the message.
    pub fn new<T: SolStruct>(message: &Message<T>, account: &Eip712Domain) -> Self {
        let contents_type = Message::<T>::type_string().into_owned();
        let typehash = keccak256(format!(
            "TypedDataSign({} contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt){contents_type}",
            T::NAME
        ));
        let (app_separator, contents) = (message.domain.separator(), message.struct_hash());
        let text = |text: &Option<Cow<'_, str>>| keccak256(text.as_deref().unwrap_or_default());
        let words = (
            (typehash, contents, text(&account.name), text(&account.version)),
            account.chain_id.unwrap_or(U256::ZERO),
            account.verifying_contract.unwrap_or(Address::ZERO),
            account.salt.unwrap_or(B256::ZERO),
        );
        let digest = under(app_separator, keccak256(words.abi_encode()));
        Self { app_separator, contents, contents_type, digest }
    }

    /// What the owner signs, or owners approve.
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// What `isValidSignature` takes: the owner's signature or the owners' approvals, with what the account needs to see what they are for.
    pub fn encode(&self, signature: &[u8]) -> Bytes {
        let kind = self.contents_type.as_bytes();
        let length = u16::try_from(kind.len()).expect("no type is 64 KiB long").to_be_bytes();
        [signature, self.app_separator.as_slice(), self.contents.as_slice(), kind, &length].concat().into()
    }
}

/// What the owner of an account signs to have the account sign `hash` as a personal message; the signature goes to `isValidSignature` as it is.
///
/// The digest of `PersonalSign(bytes prefixed)` under the account's domain, where `hash` is the hash of the prefixed message: for a text,
/// alloy's `eip191_hash_message`.
pub fn personal(hash: B256, account: &Eip712Domain) -> B256 {
    under(account.separator(), keccak256((keccak256("PersonalSign(bytes prefixed)"), hash).abi_encode()))
}

fn under(separator: B256, struct_hash: B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0x19, 0x01]);
    hasher.update(separator);
    hasher.update(struct_hash);
    hasher.finalize()
}
