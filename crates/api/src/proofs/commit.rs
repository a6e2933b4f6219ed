//! Commitments as they are made, and the proofs against them.

use alloy::primitives::{B256, Bytes};
use sha2::{Digest, Sha256, Sha512};

use super::{
    CHUNK_LEN_BYTES, ChunkProof, ContentCommitment, Counted, Field, SetProof, TEXT_LEN_MAX_BYTES, Tree, VERSION, count, read,
    set::{Kind, Secret, Set},
    verify::ProofError,
};
use crate::ledger::merkle::{self, Nodes};

impl ContentCommitment {
    /// The commitment to a content: what the market must have committed to. Compare all of it with what was shown before the purchase.
    pub fn of(content: &[u8]) -> Self {
        let mut committer = Committer::default();
        committer.push(content);
        committer.finish().commitment
    }
}

/// Commits to a content that comes piece by piece. Of a long one, 32 bytes are kept for each chunk.
pub struct Committer {
    hash: Sha256,
    secret: Sha512,
    /// A chunk that is not whole yet.
    chunk: Vec<u8>,
    /// SHA-256 of each chunk.
    chunks: Vec<B256>,
    /// What came, as long as it may be a text that is read.
    text: Option<Vec<u8>>,
    len: u64,
}

impl Default for Committer {
    fn default() -> Self {
        let (hash, secret, text) = (Sha256::new(), Secret::hasher(), Some(Vec::new()));
        Self { hash, secret, chunk: Vec::new(), chunks: Vec::new(), text, len: 0 }
    }
}

impl Committer {
    /// The next piece.
    pub fn push(&mut self, mut piece: &[u8]) {
        self.hash.update(piece);
        self.secret.update(piece);
        self.len += piece.len() as u64;
        match &mut self.text {
            Some(text) if text.len() + piece.len() <= TEXT_LEN_MAX_BYTES => text.extend_from_slice(piece),
            text => *text = None,
        }
        while !piece.is_empty() {
            let taken = piece.len().min(CHUNK_LEN_BYTES as usize - self.chunk.len());
            let (now, later) = piece.split_at(taken);
            self.chunk.extend_from_slice(now);
            piece = later;
            if self.chunk.len() as u64 == CHUNK_LEN_BYTES {
                self.end_chunk();
            }
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.push(B256::from_slice(&Sha256::digest(&self.chunk)));
        self.chunk.clear();
    }

    /// The commitment, and what proofs are made of. Takes about a second for a text with very many words.
    pub fn finish(mut self) -> Witness {
        if !self.chunk.is_empty() {
            self.end_chunk();
        }
        let secret = Secret(self.secret.finalize().into());
        let salted = self.chunks.iter().zip(0..).map(|(chunk, index)| chunk_leaf(secret.salt(index), *chunk));
        let chunks = Nodes::new(salted.collect());
        let text = self.text.and_then(|bytes| String::from_utf8(bytes).ok());
        let found = text.map(|text| read::read(&text));
        let (mut words, mut fields, mut records, mut word_total) = (None, None, None, None);
        if let Some(found) = found {
            let leaves = |kind, items: std::collections::BTreeSet<String>| {
                let mut leaves: Vec<_> = items.iter().map(|item| secret.leaf(kind, item)).collect();
                leaves.sort_unstable();
                leaves
            };
            words = found.words.into_items().map(|items| leaves(Kind::Word, items));
            fields = found.fields.and_then(read::Bounded::into_items).map(|items| leaves(Kind::Field, items));
            records = found.records;
            word_total = Some(found.word_total);
        }
        let tree = |leaves: &Option<Vec<B256>>| leaves.clone().map(|leaves| Set::new(leaves).tree());
        let commitment = ContentCommitment {
            version: VERSION,
            content_hash: B256::from_slice(&self.hash.finalize()),
            content_size: self.len,
            chunks: Tree { count: chunks.count(), root: chunks.root().unwrap_or_default() },
            key: secret.public_key(),
            words: tree(&words),
            fields: tree(&fields),
            records: records.map(|records| count::commit(&secret, Counted::Records, records)),
            word_total: word_total.map(|words| count::commit(&secret, Counted::Words, words)),
        };
        let open = |index| Some(OpenChunk { index, salt: secret.salt(index), path: chunks.path(usize::try_from(index).ok()?)? });
        let open = commitment.open_chunks().into_iter().filter_map(open).collect();
        Witness { secret: secret.0, commitment, words, fields, records, word_total, open }
    }
}

/// What proofs are made of: as secret as the content.
#[derive(Clone)]
pub struct Witness {
    /// What it is for.
    pub commitment: ContentCommitment,
    /// Made of the content.
    pub secret: [u8; 64],
    /// The leaves of the words, in order.
    pub words: Option<Vec<B256>>,
    /// The leaves of the fields, in order.
    pub fields: Option<Vec<B256>>,
    /// How many records there are.
    pub records: Option<u64>,
    /// How many words there are.
    pub word_total: Option<u64>,
    /// The chunks that may be shown, in order. Empty of a witness that was read again.
    pub open: Vec<OpenChunk>,
}

/// What a chunk is shown with.
#[derive(Clone, Debug)]
pub struct OpenChunk {
    /// Which, from 0.
    pub index: u64,
    salt: B256,
    path: Vec<B256>,
}

impl OpenChunk {
    /// Shows it: these are its bytes.
    pub fn shown(&self, chunk: Bytes) -> ChunkProof {
        ChunkProof { index: self.index, chunk, salt: self.salt, path: self.path.clone() }
    }
}

/// Leaves out what is secret.
impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("commitment", &self.commitment).finish_non_exhaustive()
    }
}

/// Makes proofs.
#[derive(Clone)]
pub struct Prover {
    /// What they are against.
    pub commitment: ContentCommitment,
    secret: Secret,
    words: Option<Set>,
    fields: Option<Set>,
    records: Option<u64>,
    word_total: Option<u64>,
}

/// Leaves out what is secret.
impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prover").field("commitment", &self.commitment).finish_non_exhaustive()
    }
}

impl Prover {
    /// Of what a commitment was made with.
    pub fn new(witness: Witness) -> Self {
        let Witness { commitment, secret, words, fields, records, word_total, open: _ } = witness;
        Self { commitment, secret: Secret(secret), words: words.map(Set::new), fields: fields.map(Set::new), records, word_total }
    }

    /// Whether a word is in the text, and the proof of either.
    ///
    /// # Errors
    /// When it is no word, or the commitment says nothing of words.
    pub fn keyword(&self, word: &str) -> Result<(bool, SetProof), ProofError> {
        let word = read::word(word).ok_or(ProofError::NoWord)?;
        let words = self.words.as_ref().ok_or(ProofError::NotCommitted { what: "words" })?;
        Ok(words.prove(&self.secret, Kind::Word, &word))
    }

    /// Whether a field is in the JSON, and the proof of either.
    ///
    /// # Errors
    /// When the commitment says nothing of fields.
    pub fn field(&self, field: &Field) -> Result<(bool, SetProof), ProofError> {
        let fields = self.fields.as_ref().ok_or(ProofError::NotCommitted { what: "fields" })?;
        Ok(fields.prove(&self.secret, Kind::Field, &field.label()))
    }

    /// Whether there are as many, and the proof of either.
    ///
    /// # Errors
    /// When the commitment says nothing of that count, or the bound is beyond 32 bits.
    pub fn count(&self, counted: Counted, at_least: u64) -> Result<(bool, Bytes), ProofError> {
        let (count, what) = match counted {
            Counted::Records => (self.records, "records"),
            Counted::Words => (self.word_total, "how many words there are"),
        };
        let count = count.ok_or(ProofError::NotCommitted { what })?;
        let proved = count::prove(&self.secret, self.commitment.id(), counted, count, at_least);
        proved.ok_or(ProofError::NotWithinBound)
    }

    /// How many bytes of memory it takes, about.
    pub fn len_bytes(&self) -> u32 {
        let leaves = [&self.commitment.words, &self.commitment.fields].into_iter().flatten().map(|tree| tree.count);
        // A leaf, its hash, and as many nodes above.
        u32::try_from(1_024 + leaves.sum::<u64>() * 96).unwrap_or(u32::MAX)
    }
}

impl ChunkProof {
    /// Whether it is that chunk of what was committed to.
    pub(super) fn is_of(&self, commitment: &ContentCommitment) -> bool {
        let leaf = chunk_leaf(self.salt, B256::from_slice(&Sha256::digest(&self.chunk)));
        let root = merkle::root_from_path(leaf, self.index, commitment.chunks.count, &self.path);
        root == Some(commitment.chunks.root) && self.chunk.len() as u64 == commitment.chunk_len(self.index)
    }
}

/// A chunk's leaf. Without the salt, what stands beside a chunk that is shown could be guessed and tried, a short last one most easily.
fn chunk_leaf(salt: B256, chunk: B256) -> B256 {
    merkle::leaf(&[salt.0, chunk.0].concat())
}
