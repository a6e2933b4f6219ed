//! What proofs are made of: made once for a content, when somebody first asks, kept in the database, and for a while in memory.

use std::{
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::B256;
use api::{
    Code,
    proofs::{CHUNK_LEN_BYTES, ChunkProof, Committer, Prover, Witness},
};
use futures::TryStreamExt;
use moka::future::Cache;
use sqlx::{Row, postgres::PgRow, types::Json};
use tokio::sync::Semaphore;

use crate::{problem::Problem, service::Market};

/// Memory for what is asked about, and how long it is kept there.
const MEMORY_BYTES: u64 = 32 * 1024 * 1024;
const IDLE: Duration = Duration::from_secs(600);
/// How long one who asks first waits for those before to be done.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// After a content was gone through, so many times as long as it took belong to others: whoever buys needs the same processor.
const REST: u32 = 3;

/// Proofs, as requests see them.
#[derive(Debug)]
pub(crate) struct Proofs {
    held: Cache<B256, Arc<Held>>,
    /// Whose turn it is to have a content gone through.
    making: Arc<Semaphore>,
    /// Whose turn it is to have proofs made.
    pub(super) proving: Semaphore,
}

/// What proofs about one content are made of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) prover: Prover,
    /// Those that may be shown, in order.
    pub(super) chunks: Vec<ChunkProof>,
}

impl Held {
    fn new(witness: Witness, chunks: Vec<ChunkProof>) -> Self {
        Self { prover: Prover::new(witness), chunks }
    }

    fn len_bytes(&self) -> u32 {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.chunk.len() + 32 * chunk.path.len()).sum();
        self.prover.len_bytes().saturating_add(u32::try_from(chunks).unwrap_or(u32::MAX))
    }
}

impl Default for Proofs {
    fn default() -> Self {
        let held = Cache::builder().max_capacity(MEMORY_BYTES).weigher(|_, held: &Arc<Held>| held.len_bytes());
        Self { held: held.time_to_idle(IDLE).build(), making: Arc::new(Semaphore::new(1)), proving: Semaphore::new(1) }
    }
}

/// What proofs about a content are made of. However many ask at once, it is read or made once.
pub(super) async fn get(market: &Market, hash: B256, len: u64) -> Result<Arc<Held>, Problem> {
    let held = market.proofs.held.try_get_with(hash, async { read_or_make(market, hash, len).await.map(Arc::new) });
    held.await.map_err(|problem: Arc<Problem>| Problem(problem.0.clone()))
}

async fn read_or_make(market: &Market, hash: B256, len: u64) -> Result<Held, Problem> {
    let row = sqlx::query("SELECT * FROM content_proofs WHERE content_hash = $1").bind(hash.as_slice());
    let (witness, chunks) = match row.fetch_optional(&market.pool).await? {
        Some(row) => read(&row)?,
        None => make(market, hash, len).await?,
    };
    let held = tokio::task::spawn_blocking(move || Held::new(witness, chunks));
    held.await.map_err(|error| Problem::internal(&error))
}

/// Goes through a content, which goes on when whoever asked hangs up. Two instances may at once: both make the same.
async fn make(market: &Market, hash: B256, len: u64) -> Result<(Witness, Vec<ChunkProof>), Problem> {
    let turn = tokio::time::timeout(TURN_TIMEOUT, market.proofs.making.clone().acquire_owned()).await;
    let busy = || Problem::new(Code::Unavailable, "Commitments to other contents are being made: ask again in a while");
    let turn = turn.map_err(|_| busy())?.map_err(|error| Problem::internal(&error))?;
    let at = market.clone();
    let making = market.spawn(async move {
        let begun = Instant::now();
        let made = commit(&at, hash, len).await;
        let rest = begun.elapsed() * REST;
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            drop(turn);
        });
        made
    });
    making.await.map_err(|error| Problem::internal(&error))?
}

async fn commit(market: &Market, hash: B256, len: u64) -> Result<(Witness, Vec<ChunkProof>), Problem> {
    let mut committer = Committer::default();
    let mut pieces = pin!(market.contents.stream(hash, len).await?);
    while let Some(piece) = pieces.try_next().await? {
        committer.push(&piece);
    }
    let witness = tokio::task::spawn_blocking(move || committer.finish()).await.map_err(|error| Problem::internal(&error))?;
    if witness.commitment.content_hash != hash {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("content {hash} is damaged: its hash differs")).into());
    }
    let mut chunks = Vec::with_capacity(witness.open.len());
    for open in &witness.open {
        let start = open.index * CHUNK_LEN_BYTES;
        let chunk = market.contents.part(hash, start..start + witness.commitment.chunk_len(open.index)).await?;
        chunks.push(open.shown(chunk.into()));
    }
    write(market, &witness, &chunks).await?;
    Ok((witness, chunks))
}

async fn write(market: &Market, witness: &Witness, chunks: &[ChunkProof]) -> sqlx::Result<()> {
    let leaves =
        |leaves: &Option<Vec<B256>>| leaves.as_ref().map(|leaves| leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>());
    let write = "INSERT INTO content_proofs (content_hash, commitment, secret, words, fields, records, word_total, chunks)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    sqlx::query(write)
        .bind(witness.commitment.content_hash.as_slice())
        .bind(Json(&witness.commitment))
        .bind(witness.secret.as_slice())
        .bind(leaves(&witness.words))
        .bind(leaves(&witness.fields))
        .bind(witness.records.map(u64::cast_signed))
        .bind(witness.word_total.map(u64::cast_signed))
        .bind(Json(chunks))
        .execute(&market.pool)
        .await
        .map(drop)
}

fn read(row: &PgRow) -> sqlx::Result<(Witness, Vec<ChunkProof>)> {
    let leaves = |column| {
        let bytes: Option<&[u8]> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(bytes.map(|bytes| bytes.chunks_exact(32).map(B256::from_slice).collect::<Vec<_>>()))
    };
    let number = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(i64::unsigned_abs));
    let secret: &[u8] = row.try_get("secret")?;
    let witness = Witness {
        commitment: row.try_get::<Json<_>, _>("commitment")?.0,
        secret: secret.try_into().map_err(|error: std::array::TryFromSliceError| sqlx::Error::Decode(error.into()))?,
        words: leaves("words")?,
        fields: leaves("fields")?,
        records: number("records")?,
        word_total: number("word_total")?,
        open: Vec::new(),
    };
    Ok((witness, row.try_get::<Json<_>, _>("chunks")?.0))
}
