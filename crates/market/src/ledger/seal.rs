//! Closes what was appended, batch by batch, so that nothing in it can be changed or left out unseen.
//!
//! There are two chains, the ledger's transfers and the events of the audit log, sealed, signed and proved by the same code.

use alloy::{
    primitives::B256,
    signers::{SignerSync, local::PrivateKeySigner},
};
use api::ledger::{InclusionProof, ProofError, Seal, SealedRange, merkle, verify_bodies, verify_range};
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row, postgres::PgRow};

use crate::{audit, db};

/// Transfers or events in one seal, at most.
const SEAL_MAX_BODIES: i64 = 16_384;
/// Heads signed in one go, at most.
const SIGN_MAX_SEALS: i64 = 256;
/// Transfers or events proved again in one go, unless one seal has more.
const CHECK_MAX_BODIES: u64 = 20_000;
/// Advisory locks of the one instance that seals: "florin" and the task.
const SEAL_LOCK: i64 = 0x666c_6f72_696e_0022;
const AUDIT_LOCK: i64 = 0x666c_6f72_696e_0070;

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Transfers of the ledger, whose ids follow the order of commits.
    Ledger,
    /// Events of the audit log, which get their numbers as they are sealed: whoever writes one waits for nobody.
    Audit,
}

impl Chain {
    const fn lock(self) -> i64 {
        match self {
            Self::Ledger => SEAL_LOCK,
            Self::Audit => AUDIT_LOCK,
        }
    }

    /// The table of its seals.
    pub(crate) const fn seals_table(self) -> &'static str {
        match self {
            Self::Ledger => "seals",
            Self::Audit => "audit_seals",
        }
    }

    /// What is sealed from $1 on, at most $2, in its order.
    const fn bodies(self) -> &'static str {
        match self {
            Self::Ledger => "SELECT body FROM transfers WHERE id >= $1 AND id < $1 + $2 ORDER BY id",
            Self::Audit => "SELECT body FROM audit_events WHERE number >= $1 AND number < $1 + $2 ORDER BY number",
        }
    }

    /// Seals what is not sealed yet; how much that was. Nothing when another instance is at it.
    pub(crate) async fn seal(self, pool: &PgPool) -> sqlx::Result<usize> {
        let mut tx = pg::begin(pool).await?;
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(self.lock());
        if !lock.fetch_one(&mut *tx).await? {
            return Ok(0);
        }
        let last = sqlx::query(self.select("ORDER BY s.sequence DESC LIMIT 1")).fetch_optional(&mut *tx).await?;
        let last = last.as_ref().map(read).transpose()?;
        let (sequence, first_id, previous) = after(last.as_ref());
        if self == Self::Audit {
            audit::number(&mut tx, first_id.cast_signed(), SEAL_MAX_BODIES).await?;
        }
        // Numbers follow the order of commits, so nothing appears later before what is seen here.
        let (mut tree, mut count) = (merkle::Tree::default(), 0);
        let mut bodies = sqlx::query(self.bodies()).bind(first_id.cast_signed()).bind(SEAL_MAX_BODIES).fetch(&mut *tx);
        // One by one as they come: who buys meanwhile does not wait for thousands of hashes.
        while let Some(row) = bodies.try_next().await? {
            tree.push(merkle::leaf(row.try_get("body")?));
            count += 1;
        }
        drop(bodies);
        let Some(root) = tree.root() else { return Ok(0) };
        let sealed_at = time::OffsetDateTime::now_utc();
        let seal = Seal { sequence, first_id, count, root, previous, signature: None, sealed_at, anchor: None };
        let table = self.seals_table();
        let insert =
            format!("INSERT INTO {table} (sequence, first_id, count, root, head, sealed_at) VALUES ($1, $2, $3, $4, $5, $6)");
        sqlx::query(AssertSqlSafe(insert))
            .bind(sequence.cast_signed())
            .bind(first_id.cast_signed())
            .bind(count.cast_signed())
            .bind(root.as_slice())
            .bind(seal.head().as_slice())
            .bind(sealed_at)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(count as usize)
    }

    /// Signs what is sealed and not signed yet, also by instances without a key and before there was one.
    pub(crate) async fn sign(self, pool: &PgPool, signer: &PrivateKeySigner) -> sqlx::Result<()> {
        let table = self.seals_table();
        let unsigned = format!("SELECT sequence, head FROM {table} WHERE signature IS NULL ORDER BY sequence LIMIT $1");
        let signed = format!("UPDATE {table} SET signature = $2 WHERE sequence = $1 AND signature IS NULL");
        for row in sqlx::query(AssertSqlSafe(unsigned)).bind(SIGN_MAX_SEALS).fetch_all(pool).await? {
            let signature = signer.sign_message_sync(db::hash(&row, "head")?.as_slice());
            let signature = signature.map_err(|error| sqlx::Error::Encode(error.into()))?;
            sqlx::query(AssertSqlSafe(signed.clone()))
                .bind(row.try_get::<i64, _>("sequence")?)
                .bind(signature.as_bytes().as_slice())
                .execute(pool)
                .await?;
        }
        Ok(())
    }

    /// The seal that has a transfer or event, its bytes, and the way from them to the root; `None` before it is sealed.
    pub(crate) async fn proof(self, conn: &mut PgConnection, id: u64) -> sqlx::Result<Option<(Seal, Vec<u8>, Vec<B256>)>> {
        let query = self.select("WHERE s.first_id <= $1 AND s.first_id + s.count > $1 ORDER BY s.first_id DESC LIMIT 1");
        let row = sqlx::query(query).bind(id.cast_signed()).fetch_optional(&mut *conn).await?;
        let Some(seal) = row.as_ref().map(read).transpose()? else { return Ok(None) };
        let mut bodies = self.bodies_of(conn, &seal).await?;
        let leaves: Vec<B256> = bodies.iter().map(|body| merkle::leaf(body)).collect();
        let index = usize::try_from(id - seal.first_id).unwrap_or(usize::MAX);
        let path = merkle::path(&leaves, index);
        Ok(path.map(|path| (seal, bodies.swap_remove(index), path)))
    }

    /// Seals from a sequence number on.
    pub(crate) async fn seals(self, conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<Vec<Seal>> {
        let query = self.select("WHERE s.sequence >= $1 ORDER BY s.sequence LIMIT $2");
        let rows = sqlx::query(query).bind(from.cast_signed()).bind(i64::from(limit)).fetch_all(conn).await?;
        rows.iter().map(read).collect()
    }

    /// Proves seals again from the rows: the chain of heads, every body, and that other columns and tables say what the bodies say. Stops after
    /// `limit` seals or many bodies: what it says was checked tells where to go on.
    pub(crate) async fn check(self, conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<Checked> {
        let previous = match from.checked_sub(1).filter(|before| *before > 0) {
            Some(before) => self.seals(conn, before, 1).await?.pop().filter(|seal| seal.sequence == before),
            None => None,
        };
        let mut checked = Checked::default();
        let mut last = previous;
        for seal in self.seals(conn, from.max(1), limit).await? {
            if checked.seals > 0 && checked.transfers + seal.count > CHECK_MAX_BODIES {
                break;
            }
            let bodies = self.bodies_of(conn, &seal).await?;
            let found = self.follows(last.as_ref(), &seal, &bodies).map_err(|error| error.to_string());
            let found = match (found, self) {
                (Err(problem), _) => Some(problem),
                (Ok(()), Self::Ledger) => entries_differ(conn, &seal, &bodies).await?,
                (Ok(()), Self::Audit) => audit::columns_differ(conn, &seal).await?,
            };
            if found.is_some() {
                checked.problem = found;
                return Ok(checked);
            }
            checked.seals += 1;
            checked.transfers += seal.count;
            last = Some(seal);
        }
        Ok(checked)
    }

    fn follows(self, previous: Option<&Seal>, seal: &Seal, bodies: &[Vec<u8>]) -> Result<(), ProofError> {
        let seal = std::slice::from_ref(seal);
        match self {
            Self::Ledger => verify_range(previous, seal, bodies),
            // An event does not say its number: the tree does.
            Self::Audit => verify_bodies(previous, seal, bodies, |_, _| Ok(true)),
        }
    }

    async fn bodies_of(self, conn: &mut PgConnection, seal: &Seal) -> sqlx::Result<Vec<Vec<u8>>> {
        let bodies = sqlx::query_scalar(self.bodies()).bind(seal.first_id.cast_signed()).bind(seal.count.cast_signed());
        bodies.fetch_all(conn).await
    }

    fn select(self, rest: &str) -> AssertSqlSafe<String> {
        let table = self.seals_table();
        AssertSqlSafe(format!(
            "SELECT s.*, before.head AS previous FROM {table} AS s LEFT JOIN {table} AS before ON before.sequence = s.sequence - 1 {rest}"
        ))
    }
}

/// Seals what is not sealed of the ledger yet; how many transfers that were. Nothing when another instance is at it.
///
/// # Errors
/// When the database fails.
pub async fn seal(pool: &PgPool) -> sqlx::Result<usize> {
    Chain::Ledger.seal(pool).await
}

/// Signs what is sealed of the ledger and not signed yet, also by instances without a key and before there was one.
///
/// # Errors
/// When the database or the signer fails.
pub async fn sign(pool: &PgPool, signer: &PrivateKeySigner) -> sqlx::Result<()> {
    Chain::Ledger.sign(pool, signer).await
}

fn after(last: Option<&Seal>) -> (u64, u64, B256) {
    last.map_or((1, 1, Seal::GENESIS), |seal| (seal.sequence + 1, seal.first_id + seal.count, seal.head()))
}

/// The proof that a transfer is in the ledger; `None` before it is sealed.
///
/// # Errors
/// When the database fails.
pub async fn proof(conn: &mut PgConnection, transfer: u64) -> sqlx::Result<Option<InclusionProof>> {
    let proof = Chain::Ledger.proof(conn, transfer).await?;
    Ok(proof.map(|(seal, body, path)| InclusionProof { body: body.into(), path, seal, anchor: None }))
}

/// Seals of the ledger from a sequence number on.
///
/// # Errors
/// When the database fails.
pub async fn seals(conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<Vec<Seal>> {
    Chain::Ledger.seals(conn, from, limit).await
}

/// All that is sealed of the ledger from a sequence number on. Stops after `limit` seals or many transfers, and has one seal at least if there is
/// one.
///
/// # Errors
/// When the database fails.
pub async fn sealed(conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<SealedRange> {
    let mut range = SealedRange { seals: Vec::new(), bodies: Vec::new() };
    for seal in seals(conn, from, limit).await? {
        if !range.seals.is_empty() && range.bodies.len() as u64 + seal.count > CHECK_MAX_BODIES {
            break;
        }
        range.bodies.extend(Chain::Ledger.bodies_of(conn, &seal).await?.into_iter().map(Into::into));
        range.seals.push(seal);
    }
    Ok(range)
}

/// What a look at sealed batches found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Batches.
    pub seals: u64,
    /// Transfers in them, or events.
    pub transfers: u64,
    /// What is wrong, if anything.
    pub problem: Option<String>,
}

/// Proves seals of the ledger again from the rows: the chain of heads, every body, and that the entries are what the bodies say. Stops after
/// `limit` seals or many transfers: what it says was checked tells where to go on.
///
/// # Errors
/// When the database fails.
pub async fn check(conn: &mut PgConnection, from: u64, limit: u32) -> sqlx::Result<Checked> {
    Chain::Ledger.check(conn, from, limit).await
}

/// The legs of every body must be entries. That there are no others is for the job that compares balances with the sums of all entries.
async fn entries_differ(conn: &mut PgConnection, seal: &Seal, bodies: &[Vec<u8>]) -> sqlx::Result<Option<String>> {
    let mut legs: [Vec<i64>; 3] = Default::default();
    for body in bodies {
        let transfer = super::past::transfer(body)?;
        for leg in &transfer.legs {
            let row = [leg.account.cast_signed(), transfer.id.cast_signed(), leg.amount];
            legs.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    let [accounts, transfers, amounts] = legs;
    let wrong = sqlx::query_scalar(
        "SELECT min(leg.transfer) FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS leg (account, transfer, amount)
         LEFT JOIN entries AS e ON e.account = leg.account AND e.transfer = leg.transfer WHERE e.amount IS DISTINCT FROM leg.amount",
    );
    let wrong: Option<i64> = wrong.bind(accounts).bind(transfers).bind(amounts).fetch_one(conn).await?;
    Ok(wrong.map(|id| format!("the entries of transfer {id} are not what was sealed in batch {}", seal.sequence)))
}

fn read(row: &PgRow) -> sqlx::Result<Seal> {
    let number = |column| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    let signature: Option<Vec<u8>> = row.try_get("signature")?;
    Ok(Seal {
        sequence: number("sequence")?,
        first_id: number("first_id")?,
        count: number("count")?,
        root: db::hash(row, "root")?,
        previous: db::maybe_hash(row, "previous")?.unwrap_or(Seal::GENESIS),
        signature: signature.map(Into::into),
        sealed_at: row.try_get("sealed_at")?,
        anchor: db::maybe_hash(row, "anchor")?,
    })
}
