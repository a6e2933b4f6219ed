//! Counts that are hidden, and proofs that they are within bounds: Bulletproofs of 32 bits over Pedersen commitments. No content has as many words.

use std::sync::LazyLock;

use alloy::primitives::{B256, Bytes};
use bulletproofs::{BulletproofGens, PedersenGens, RangeProof};
use curve25519_dalek::{RistrettoPoint, Scalar, constants::RISTRETTO_BASEPOINT_TABLE, ristretto::CompressedRistretto};
use merlin::Transcript;

use super::{
    Counted,
    set::{Secret, encode},
    verify::ProofError,
};

const BITS: usize = 32;
/// Four points and five scalars, and two points for each halving.
const PROOF_LEN_BYTES: usize = (9 + 2 * 5) * 32;

static GENERATORS: LazyLock<BulletproofGens> = LazyLock::new(|| BulletproofGens::new(BITS, 1));
static PEDERSEN: LazyLock<PedersenGens> = LazyLock::new(PedersenGens::default);

/// What is proved of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    AtLeast(u64),
    FewerThan(u64),
}

impl Bound {
    /// What the bound makes of a commitment: one to how far within it the count is.
    fn shift(self, point: RistrettoPoint) -> RistrettoPoint {
        let public = |count: u64| &Scalar::from(count) * RISTRETTO_BASEPOINT_TABLE;
        match self {
            Self::AtLeast(least) => point - public(least),
            // A count of which none is fewer is found out by the range.
            Self::FewerThan(limit) => public(limit) - public(1) - point,
        }
    }

    /// A statement about one commitment is no proof of another.
    fn transcript(self, commitment: B256, counted: Counted) -> Transcript {
        let mut transcript = Transcript::new(b"florin content count 1");
        let (side, count) = match self {
            Self::AtLeast(least) => (b"at least".as_slice(), least),
            Self::FewerThan(limit) => (b"fewer than".as_slice(), limit),
        };
        transcript.append_message(b"commitment", commitment.as_slice());
        transcript.append_message(b"counted", purpose(counted));
        transcript.append_message(b"side", side);
        transcript.append_u64(b"count", count);
        transcript
    }
}

fn purpose(counted: Counted) -> &'static [u8] {
    match counted {
        Counted::Records => b"records",
        Counted::Words => b"words",
    }
}

/// The Pedersen commitment of a count. Its blinding is made of the content.
pub(super) fn commit(secret: &Secret, counted: Counted, count: u64) -> B256 {
    encode(&PEDERSEN.commit(Scalar::from(count), secret.scalar(purpose(counted))))
}

/// The proof that there are as many, or the one that there are fewer, and which it is.
pub(super) fn prove(secret: &Secret, commitment: B256, counted: Counted, count: u64, least: u64) -> Option<(bool, Bytes)> {
    let blinding = secret.scalar(purpose(counted));
    let (bound, within, blinding) = match count.checked_sub(least) {
        Some(within) => (Bound::AtLeast(least), within, blinding),
        None => (Bound::FewerThan(least), least - 1 - count, -blinding),
    };
    let mut transcript = bound.transcript(commitment, counted);
    let proof = RangeProof::prove_single(&GENERATORS, &PEDERSEN, &mut transcript, within, &blinding, BITS);
    Some((matches!(bound, Bound::AtLeast(_)), proof.ok().filter(|_| within >> BITS == 0)?.0.to_bytes().into()))
}

/// Whether a proof shows that a hidden count is within a bound.
pub(super) fn verify(point: B256, commitment: B256, counted: Counted, bound: Bound, proof: &[u8]) -> Result<(), ProofError> {
    let unreadable = ProofError::Unreadable { what: "a range proof" };
    if proof.len() != PROOF_LEN_BYTES {
        return Err(unreadable);
    }
    let proof = RangeProof::from_bytes(proof).map_err(|_| unreadable)?;
    let point = CompressedRistretto(point.0).decompress().ok_or(ProofError::Unreadable { what: "a hidden count" })?;
    let mut transcript = bound.transcript(commitment, counted);
    let shifted = bound.shift(point).compress();
    proof.verify_single(&GENERATORS, &PEDERSEN, &mut transcript, &shifted, BITS).map_err(|_| ProofError::NotWithinBound)
}
