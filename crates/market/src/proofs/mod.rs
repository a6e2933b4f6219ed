//! Proofs about contents that are not bought yet. Commitment and proofs are `api::proofs`: who asks verifies them without trust in this market.

pub(crate) mod delivery;
mod keep;

use std::sync::Arc;

use alloy::{primitives::B256, signers::SignerSync};
use api::{
    Code, Listing,
    proofs::{
        ContentProofs, ContentVerified, CountChecked, FieldChecked, KeywordChecked, KeywordQuery, PATH_LEN_MAX_BYTES, ProofError,
        VerifyContent, is_round, word,
    },
};
use axum::{Json, extract::State};
use money::Bps;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    auth::Caller,
    input::{self, Id, Params},
    listings,
    problem::Problem,
    service::Market,
};
use keep::Held;
pub(crate) use keep::Proofs;

/// Words that one request asks for, and fields.
const ASKED_MAX: usize = 10;
/// Proofs of one content that one person gets in a day: nobody asks for a whole dictionary.
const DAY_MAX: i32 = 200;
/// Counts of other days removed in one go.
const REMOVED_MAX: i64 = 20_000;

/// `GET /api/v1/zkp/{id}/proofs`: the commitment. The first who asks waits until it is made.
pub(crate) async fn show(State(market): State<Market>, Id(id): Id) -> Result<Json<ContentProofs>, Problem> {
    let (_, held) = of_listing(&market, id).await?;
    let commitment = held.prover.commitment.clone();
    let commitment_id = commitment.id();
    let signature = market.ledger_key.as_ref().map(|key| key.sign_message_sync(commitment_id.as_slice()));
    let signature =
        signature.transpose().map_err(|error| Problem::internal(&error))?.map(|signature| signature.as_bytes().into());
    let open_chunks = commitment.open_chunks();
    Ok(Json(ContentProofs { listing_id: id, commitment, commitment_id, signature, open_chunks }))
}

/// `POST /api/v1/zkp/{id}/verify`
pub(crate) async fn verify(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    input::Json(asked): input::Json<VerifyContent>,
) -> Result<Json<ContentVerified>, Problem> {
    check(&asked)?;
    let (listing, held) = of_listing(&market, id).await?;
    let proofs = asked.keywords.len() + asked.schema_has_fields.len() + asked.counts().count();
    count(&market, &held, &caller, proofs).await?;
    prove(&market, move || answer(&held, listing.quality_bps, &asked)).await.map(Json)
}

/// `GET /api/v1/zkp/{id}/bloom-check?word=…`: one word, with a proof. A filter with all words would tell them all to who has a dictionary.
pub(crate) async fn keyword(
    State(market): State<Market>,
    Id(id): Id,
    caller: Caller,
    Params(KeywordQuery { word }): Params<KeywordQuery>,
) -> Result<Json<KeywordChecked>, Problem> {
    must_be_word(&word)?;
    let (_, held) = of_listing(&market, id).await?;
    count(&market, &held, &caller, 1).await?;
    prove(&market, move || checked(&held, held.prover.commitment.id(), &word)).await.map(Json)
}

async fn of_listing(market: &Market, id: Uuid) -> Result<(Listing, Arc<Held>), Problem> {
    let listing = listings::find(&mut *market.pool.acquire().await?, id).await?;
    let (Some(hash), Some(len)) = (listing.content_hash, listing.content_size) else {
        return Err(Problem::new(Code::WrongState, "The listing has no content yet"));
    };
    Ok((listing, keep::get(market, hash, len).await?))
}

fn check(asked: &VerifyContent) -> Result<(), Problem> {
    if asked.keywords.len() > ASKED_MAX || asked.schema_has_fields.len() > ASKED_MAX {
        return Err(Problem::invalid(format!("at most {ASKED_MAX} keywords and {ASKED_MAX} fields are proved at once")));
    }
    asked.keywords.iter().try_for_each(|word| must_be_word(word))?;
    if asked.schema_has_fields.iter().any(|field| field.path.len() > PATH_LEN_MAX_BYTES) {
        return Err(Problem::invalid(format!("the path of a field has at most {PATH_LEN_MAX_BYTES} bytes")));
    }
    if asked.counts().any(|(_, least)| !is_round(least)) {
        let detail = "min_records and min_words must be 1, 2 or 5 times a power of ten, at most 2,000,000,000: a hidden count is not told closer";
        return Err(Problem::invalid(detail));
    }
    Ok(())
}

fn must_be_word(text: &str) -> Result<(), Problem> {
    word(text).map(drop).ok_or_else(|| Problem::invalid(ProofError::NoWord.to_string()))
}

/// Counts proofs before they are made, against what one person may have of this content today.
async fn count(market: &Market, held: &Held, caller: &Caller, proofs: usize) -> Result<(), Problem> {
    if proofs == 0 {
        return Ok(());
    }
    let ask = "INSERT INTO proof_asks AS a (content_hash, person, day, asked)
         SELECT $1, $2, (now() AT TIME ZONE 'UTC')::date, $3 FROM set_config('synchronous_commit', 'off', TRUE)
         ON CONFLICT (content_hash, person) DO UPDATE SET day = excluded.day,
             asked = CASE WHEN a.day = excluded.day THEN a.asked ELSE 0 END + excluded.asked
         WHERE a.day <> excluded.day OR a.asked + excluded.asked <= $4";
    let asked = sqlx::query(ask)
        .bind(held.prover.commitment.content_hash.as_slice())
        .bind(caller.person()?)
        .bind(i32::try_from(proofs).unwrap_or(i32::MAX))
        .bind(DAY_MAX)
        .execute(&market.pool)
        .await?;
    if asked.rows_affected() > 0 {
        return Ok(());
    }
    Err(Problem::new(Code::OverLimit, format!("One person gets {DAY_MAX} proofs of one content a day (UTC)")))
}

/// Makes proofs beside the requests, one request's at a time.
async fn prove<T: Send + 'static>(
    market: &Market,
    work: impl FnOnce() -> Result<T, ProofError> + Send + 'static,
) -> Result<T, Problem> {
    let _turn = market.proofs.proving.acquire().await.map_err(|error| Problem::internal(&error))?;
    let proved = tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?;
    proved.map_err(|error| Problem::new(Code::WrongState, error.to_string()))
}

fn answer(held: &Held, quality: Option<Bps>, asked: &VerifyContent) -> Result<ContentVerified, ProofError> {
    let (prover, commitment_id) = (&held.prover, held.prover.commitment.id());
    let keywords = asked.keywords.iter().map(|word| checked(held, commitment_id, word)).collect::<Result<Vec<_>, _>>()?;
    let field = |field: &api::proofs::Field| {
        let (present, proof) = prover.field(field)?;
        Ok::<_, ProofError>(FieldChecked { field: field.clone(), present, proof })
    };
    let fields = asked.schema_has_fields.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let count = |(counted, at_least)| {
        let (passed, proof) = prover.count(counted, at_least)?;
        Ok::<_, ProofError>(CountChecked { counted, at_least, passed, proof })
    };
    let counts = asked.counts().map(count).collect::<Result<Vec<_>, _>>()?;
    let min_size = asked.min_size.map(|least| prover.commitment.content_size >= least);
    let min_quality = asked.min_quality.map(|least| quality.is_some_and(|quality| quality >= least));
    let picked = asked.nonce.map(|nonce| prover.commitment.sample(nonce)).unwrap_or_default();
    let chunks = held.chunks.iter().filter(|chunk| picked.contains(&chunk.index)).cloned().collect();
    let passed = keywords.iter().all(|word| word.present)
        && fields.iter().all(|field| field.present)
        && counts.iter().all(|count| count.passed)
        && [min_size, min_quality].iter().flatten().all(|is_so| *is_so);
    Ok(ContentVerified { commitment_id, passed, keywords, fields, counts, min_size, min_quality, chunks })
}

fn checked(held: &Held, commitment_id: B256, word: &str) -> Result<KeywordChecked, ProofError> {
    let (present, proof) = held.prover.keyword(word)?;
    Ok(KeywordChecked { commitment_id, word: word.to_owned(), present, proof })
}

/// Removes counts of days that are over.
pub(crate) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let old = "DELETE FROM proof_asks WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM proof_asks WHERE day < (now() AT TIME ZONE 'UTC')::date ORDER BY day LIMIT $1))";
    sqlx::query(old).bind(REMOVED_MAX).execute(pool).await.map(drop)
}
