//! Proofs, believed by nobody's word.

use alloy::primitives::B256;

use super::{
    CHUNK_LEN_BYTES, ChunkProof, ContentCommitment, ContentVerified, Counted, Field, KeywordChecked, SetProof, VERSION,
    VerifyContent,
    count::{self, Bound},
    read,
    set::{self, Kind},
};

/// Why something does not follow from a commitment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The commitment is of another form.
    #[error("the commitment has form {version}, and this program knows {VERSION}: take a newer one")]
    Version {
        /// Its form.
        version: u32,
    },
    /// The commitment contradicts itself.
    #[error("the commitment has not as many chunks as its size makes: do not buy by it")]
    Contradiction,
    /// It is about another commitment.
    #[error(
        "the proof is against another commitment than the one you have: the content changed meanwhile, or the market shows several"
    )]
    OtherCommitment,
    /// The commitment says nothing of it.
    #[error("the commitment says nothing of {what}: the content is no such text, or has too much of it")]
    NotCommitted {
        /// Of what.
        what: &'static str,
    },
    /// It is no word.
    #[error("a word is letters and digits that stand together, not digits alone, and has at most 64 bytes")]
    NoWord,
    /// Bytes that are no point, scalar or proof.
    #[error("{what} cannot be read: the proof is damaged or made up")]
    Unreadable {
        /// What.
        what: &'static str,
    },
    /// The evaluation is not the key's.
    #[error("the evaluation is not by the commitment's key, or of something else: the proof is made up")]
    NotByTheKey,
    /// A path leads elsewhere.
    #[error("{what} is not in the tree that was committed to: the proof is made up")]
    NotInTree {
        /// What.
        what: &'static str,
    },
    /// The leaves do not enclose it.
    #[error("the leaves shown are not the two between which it would be: absence is not proved")]
    NotNeighbours,
    /// The opposite is proved.
    #[error("the opposite is proved")]
    Opposite,
    /// The range proof does not hold.
    #[error("the count is not proved to be within this bound")]
    NotWithinBound,
    /// The answer is not to what was asked.
    #[error("the answer is not to what was asked: something is missing, added or exchanged")]
    NotAsked,
}

/// That these are the chunks which this nonce picks of the content, all of them.
pub fn verify_chunks(commitment: &ContentCommitment, nonce: B256, chunks: &[ChunkProof]) -> Result<(), ProofError> {
    sound(commitment)?;
    if !chunks.iter().map(|chunk| chunk.index).eq(commitment.sample(nonce)) {
        return Err(ProofError::NotAsked);
    }
    if chunks.iter().all(|chunk| chunk.is_of(commitment)) { Ok(()) } else { Err(ProofError::NotInTree { what: "a chunk" }) }
}

/// That a word is in the text. Capital letters A to Z count as small ones.
pub fn verify_keyword(commitment: &ContentCommitment, word: &str, proof: &SetProof) -> Result<(), ProofError> {
    so(has_word(commitment, word, proof)?)
}

/// That a word is not in the text.
pub fn verify_absent(commitment: &ContentCommitment, word: &str, proof: &SetProof) -> Result<(), ProofError> {
    so(!has_word(commitment, word, proof)?)
}

/// That a value of this type is at this place of the JSON, at one index at least where the place is one of an array.
pub fn verify_field(commitment: &ContentCommitment, field: &Field, proof: &SetProof) -> Result<(), ProofError> {
    so(has_field(commitment, field, proof)?)
}

/// That no value of this type is at this place of the JSON.
pub fn verify_field_absent(commitment: &ContentCommitment, field: &Field, proof: &SetProof) -> Result<(), ProofError> {
    so(!has_field(commitment, field, proof)?)
}

/// That there are as many records or words.
pub fn verify_at_least(commitment: &ContentCommitment, counted: Counted, least: u64, proof: &[u8]) -> Result<(), ProofError> {
    bound(commitment, counted, Bound::AtLeast(least), proof)
}

/// That there are fewer.
pub fn verify_fewer_than(commitment: &ContentCommitment, counted: Counted, limit: u64, proof: &[u8]) -> Result<(), ProofError> {
    bound(commitment, counted, Bound::FewerThan(limit), proof)
}

fn so(is_so: bool) -> Result<(), ProofError> {
    if is_so { Ok(()) } else { Err(ProofError::Opposite) }
}

fn sound(commitment: &ContentCommitment) -> Result<(), ProofError> {
    if commitment.version != VERSION {
        return Err(ProofError::Version { version: commitment.version });
    }
    if commitment.chunks.count == commitment.content_size.div_ceil(CHUNK_LEN_BYTES) {
        Ok(())
    } else {
        Err(ProofError::Contradiction)
    }
}

fn has_word(commitment: &ContentCommitment, word: &str, proof: &SetProof) -> Result<bool, ProofError> {
    sound(commitment)?;
    let word = read::word(word).ok_or(ProofError::NoWord)?;
    let words = commitment.words.ok_or(ProofError::NotCommitted { what: "words" })?;
    set::is_in(words, commitment.key, (Kind::Word, &word), proof)
}

fn has_field(commitment: &ContentCommitment, field: &Field, proof: &SetProof) -> Result<bool, ProofError> {
    sound(commitment)?;
    let fields = commitment.fields.ok_or(ProofError::NotCommitted { what: "fields" })?;
    set::is_in(fields, commitment.key, (Kind::Field, &field.label()), proof)
}

fn bound(commitment: &ContentCommitment, counted: Counted, bound: Bound, proof: &[u8]) -> Result<(), ProofError> {
    sound(commitment)?;
    let point = commitment.counted(counted).ok_or(ProofError::NotCommitted { what: "that count" })?;
    count::verify(point, commitment.id(), counted, bound, proof)
}

impl KeywordChecked {
    /// That this is the answer to the question for a word, whichever it is.
    ///
    /// # Errors
    /// When the proof does not show what the answer says.
    pub fn verify(&self, commitment: &ContentCommitment, word: &str) -> Result<bool, ProofError> {
        if self.commitment_id != commitment.id() {
            return Err(ProofError::OtherCommitment);
        }
        so_answered(self.word == word, self.present, has_word(commitment, word, &self.proof)?)
    }
}

impl ContentVerified {
    /// That this is the answer to what was asked, with a proof for all that can be proved, and what it says of all of it together. The judged quality
    /// is the market's word.
    ///
    /// # Errors
    /// At the first proof that does not show what the answer says, and when something is missing.
    pub fn verify(&self, commitment: &ContentCommitment, asked: &VerifyContent) -> Result<bool, ProofError> {
        sound(commitment)?;
        if self.commitment_id != commitment.id() || self.keywords.iter().any(|word| word.commitment_id != self.commitment_id) {
            return Err(ProofError::OtherCommitment);
        }
        let as_many = self.keywords.len() == asked.keywords.len() && self.fields.len() == asked.schema_has_fields.len();
        if !as_many || self.counts.len() != asked.counts().count() {
            return Err(ProofError::NotAsked);
        }
        let mut passed = true;
        for (answer, word) in self.keywords.iter().zip(&asked.keywords) {
            passed &= answer.verify(commitment, word)?;
        }
        for (answer, field) in self.fields.iter().zip(&asked.schema_has_fields) {
            let shown = has_field(commitment, field, &answer.proof)?;
            passed &= so_answered(answer.field == *field, answer.present, shown)?;
        }
        for (answer, (counted, least)) in self.counts.iter().zip(asked.counts()) {
            let is_it = (answer.counted, answer.at_least) == (counted, least);
            let claimed = if answer.passed { Bound::AtLeast(least) } else { Bound::FewerThan(least) };
            bound(commitment, counted, claimed, &answer.proof)?;
            passed &= so_answered(is_it, answer.passed, answer.passed)?;
        }
        if self.min_size != asked.min_size.map(|least| commitment.content_size >= least) {
            return Err(ProofError::NotAsked);
        }
        match (self.min_quality, asked.min_quality) {
            (judged, Some(_)) => passed &= judged.ok_or(ProofError::NotAsked)?,
            (Some(_), None) => return Err(ProofError::NotAsked),
            (None, None) => {}
        }
        passed &= self.min_size.unwrap_or(true);
        match asked.nonce {
            Some(nonce) => verify_chunks(commitment, nonce, &self.chunks)?,
            None if !self.chunks.is_empty() => return Err(ProofError::NotAsked),
            None => {}
        }
        if self.passed == passed { Ok(passed) } else { Err(ProofError::Opposite) }
    }
}

fn so_answered(is_it: bool, claimed: bool, shown: bool) -> Result<bool, ProofError> {
    match (is_it, claimed == shown) {
        (false, _) => Err(ProofError::NotAsked),
        (true, false) => Err(ProofError::Opposite),
        (true, true) => Ok(shown),
    }
}
