//! The ledger as a client meets it: assets, transfers, seals, and proofs that need no trust in the market.

mod amount;
mod funds;
mod house;
pub mod merkle;
mod redemptions;
mod transfer;
mod wallet;

pub use amount::{Amount, Asset, ParseAmountError};
pub use funds::{
    Assign, Deposit, DepositStatus, OpenDeposit, Refuse, Unmatched, Withdraw, Withdrawal, WithdrawalFilter, WithdrawalStatus,
};
pub use house::{Currency, Supply, TierOffer};
pub use redemptions::{HandedOver, Redeem, Redemption, RedemptionFilter, RedemptionMethod, RedemptionOffer, RedemptionStatus};
pub use transfer::{BodyError, Kind, Leg, Transfer};
pub use wallet::{
    Balance, CsvQuery, PastBalance, PastQuery, PastWallet, Reverse, Reversed, Send, Sent, StatementLine, StatementQuery,
    Verified, VerifyQuery, Wallet,
};

use alloy::primitives::{Address, B256, Bytes, Signature, b256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// A batch of transfers that is closed for good. Batches have no gap, and each head commits to all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seal {
    /// Number of the batch, from 1.
    pub sequence: u64,
    /// Id of its first transfer.
    pub first_id: u64,
    /// Transfers in it, at least one.
    pub count: u64,
    /// Merkle tree hash of its transfers (RFC 9162, SHA-256).
    #[schemars(with = "crate::schema::Hash")]
    pub root: B256,
    /// Head of the batch before; zeros for the first.
    #[schemars(with = "crate::schema::Hash")]
    pub previous: B256,
    /// The market's signature of the head, if it has a key: EIP-191 over its 32 bytes, 65 bytes r, s, v.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hex>")]
    pub signature: Option<Bytes>,
    /// When it was sealed.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub sealed_at: OffsetDateTime,
    /// The transaction that anchored it on chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Hash>")]
    pub anchor: Option<B256>,
}

impl Seal {
    /// What the first head follows.
    pub const GENESIS: B256 = b256!("0x0000000000000000000000000000000000000000000000000000000000000000");

    /// SHA-256 of the previous head, sequence, first id, count (8 bytes each, big endian) and root.
    pub fn head(&self) -> B256 {
        let mut hash = Sha256::new_with_prefix(self.previous);
        for number in [self.sequence, self.first_id, self.count] {
            hash.update(number.to_be_bytes());
        }
        B256::from_slice(&hash.chain_update(self.root).finalize())
    }

    /// Whether bytes are what was sealed at a place.
    ///
    /// # Errors
    /// When they are not.
    pub fn includes(&self, id: u64, body: &[u8], path: &[B256]) -> Result<(), ProofError> {
        let Self { sequence, first_id, count, root, .. } = *self;
        let index = id.checked_sub(first_id).filter(|index| *index < count);
        let index = index.ok_or(ProofError::Outside { id, sequence, first_id, count })?;
        let found = merkle::root_from_path(merkle::leaf(body), index, count, path);
        if found == Some(root) { Ok(()) } else { Err(ProofError::NotSealed { id, sequence }) }
    }

    /// Who signed the head; `None` when nobody did or it cannot be told.
    pub fn signer(&self) -> Option<Address> {
        Signature::from_raw(self.signature.as_ref()?).ok()?.recover_address_from_msg(self.head()).ok()
    }
}

/// Why something does not follow from a seal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The body of the transfer cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The seal is about other transfers.
    #[error(
        "number {id} is not among the {count} of batch {sequence} that begins with {first_id}: this proof is for another seal"
    )]
    Outside {
        /// The transfer or event.
        id: u64,
        /// The batch.
        sequence: u64,
        /// Its first one.
        first_id: u64,
        /// How many it has.
        count: u64,
    },
    /// The path does not lead to the root.
    #[error("number {id} is not what was sealed in batch {sequence}: the market showed something else, or changed it")]
    NotSealed {
        /// The transfer or event.
        id: u64,
        /// The batch.
        sequence: u64,
    },
    /// The event cannot be read.
    #[error("the event cannot be read: {0}")]
    Event(String),
    /// A batch does not follow the one before.
    #[error("batch {sequence} does not follow the one before it: the market changed or left out a batch")]
    BrokenChain {
        /// The batch.
        sequence: u64,
    },
}

/// All that is sealed from one batch on, up to a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealedRange {
    /// The seals, in order. Empty when there are no later ones.
    pub seals: Vec<Seal>,
    /// The bytes of all transfers of all seals, in order.
    #[schemars(with = "Vec<crate::schema::Hex>")]
    pub bodies: Vec<Bytes>,
}

impl SealedRange {
    /// All transfers of the range, if they are what was sealed, none left out, and the seals follow `previous`: the last seal that was verified
    /// before, `None` from the beginning. Takes nobody's word but the seals': compare the head of the last one with the chain.
    ///
    /// # Errors
    /// At the first batch that does not follow, or transfer that is not what was sealed.
    pub fn verify(&self, previous: Option<&Seal>) -> Result<Vec<Transfer>, ProofError> {
        verify_range(previous, &self.seals, &self.bodies)?;
        self.bodies.iter().map(|body| Ok(Transfer::from_body(body)?)).collect()
    }
}

/// That a transfer is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InclusionProof {
    /// The transfer's bytes, as they were sealed.
    #[schemars(with = "crate::schema::Hex")]
    pub body: Bytes,
    /// The inclusion proof of RFC 9162, section 2.1.3: hashes of the siblings, leaf first.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub path: Vec<B256>,
    /// The seal. Compare its head with one you kept, or with the chain by [`Self::anchor`].
    pub seal: Seal,
    /// The way from the seal's head to the LedgerAnchor contract, once it is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<AnchorProof>,
}

/// The way from a seal to the LedgerAnchor contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnchorProof {
    /// Who anchored: the address that signs the seals.
    #[schemars(with = "crate::schema::HexAddress")]
    pub operator: Address,
    /// Number of the batch in the contract.
    pub sequence: u64,
    /// Heads of seals in it.
    pub count: u64,
    /// Which of them is the seal's, from 0.
    pub index: u64,
    /// The inclusion proof of the head, the entry being its 32 bytes: hashes of the siblings, leaf first.
    #[schemars(with = "Vec<crate::schema::Hash>")]
    pub path: Vec<B256>,
}

impl AnchorProof {
    /// The root that the contract must have: ask it `isAnchored(operator, sequence, root, count)`. `None` when the path leads nowhere.
    pub fn root(&self, head: B256) -> Option<B256> {
        merkle::root_from_path(merkle::leaf(head.as_slice()), self.index, self.count, &self.path)
    }
}

impl InclusionProof {
    /// The transfer, if it is what was sealed. Takes nobody's word but the seal's.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self) -> Result<Transfer, ProofError> {
        let transfer = Transfer::from_body(&self.body)?;
        self.seal.includes(transfer.id, &self.body, &self.path)?;
        Ok(transfer)
    }
}

/// Checks that seals follow each other without a gap, the first after `previous`, and that each is over the transfers that it says. Bodies are
/// those of all transfers of all seals, in order.
///
/// # Errors
/// At the first batch that does not follow, or transfer that is not what was sealed.
pub fn verify_range<B: AsRef<[u8]>>(previous: Option<&Seal>, seals: &[Seal], bodies: &[B]) -> Result<(), ProofError> {
    verify_bodies(previous, seals, bodies, |body, id| Ok(Transfer::from_body(body)?.id == id))
}

/// The same of whatever is sealed: `is` tells whether bytes may stand at a place.
///
/// # Errors
/// At the first batch that does not follow, or bytes that are not what was sealed.
pub fn verify_bodies<B: AsRef<[u8]>>(
    previous: Option<&Seal>,
    seals: &[Seal],
    bodies: &[B],
    is: impl Fn(&[u8], u64) -> Result<bool, ProofError>,
) -> Result<(), ProofError> {
    let (mut sequence, mut next_id, mut head) = match previous {
        Some(seal) => (seal.sequence, seal.first_id + seal.count, seal.head()),
        None => (0, 1, Seal::GENESIS),
    };
    let mut bodies = bodies.iter().map(AsRef::as_ref);
    for seal in seals {
        if (seal.sequence, seal.first_id, seal.previous) != (sequence + 1, next_id, head) {
            return Err(ProofError::BrokenChain { sequence: seal.sequence });
        }
        let mut tree = merkle::Tree::default();
        for id in seal.first_id..seal.first_id.saturating_add(seal.count) {
            let not_sealed = ProofError::NotSealed { id, sequence: seal.sequence };
            let body = bodies.next().ok_or_else(|| not_sealed.clone())?;
            if !is(body, id)? {
                return Err(not_sealed);
            }
            tree.push(merkle::leaf(body));
        }
        if tree.root() != Some(seal.root) {
            return Err(ProofError::NotSealed { id: seal.first_id, sequence: seal.sequence });
        }
        (sequence, next_id, head) = (seal.sequence, seal.first_id + seal.count, seal.head());
    }
    Ok(())
}
