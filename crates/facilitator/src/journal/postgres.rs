//! The settlement journal in Postgres.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use sqlx::{FromRow, PgPool, pool::PoolConnection, types::Json};

use super::{Attempt, Open, Transaction};
use crate::{
    Error,
    settlement::{Call, Entry, Expected, Key, Method, Settlement, Slot, State},
};

/// A predecessor that is just ending may hold a signer for a moment.
const LEASE_WAIT: Duration = Duration::from_secs(3);
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// Classid of the advisory locks by which a signer belongs to one instance.
const LOCK_CLASS: i32 = 0x6661_6369;

#[derive(FromRow)]
struct Row {
    chain_id: i64,
    method: String,
    token: Vec<u8>,
    payer: Vec<u8>,
    nonce: Vec<u8>,
    payee: Vec<u8>,
    amount: String,
    target: Vec<u8>,
    input: Vec<u8>,
    gas: i64,
    expected: Json<Expected>,
    pinned: bool,
    signer: Vec<u8>,
    tx_nonce: i64,
    state: String,
    settled_by: Option<Vec<u8>>,
    reason: Option<String>,
}

/// Method, token, payer, nonce.
type KeyRow = (String, Vec<u8>, Vec<u8>, Vec<u8>);

const COLUMNS: &str =
    "chain_id, method, token, payer, nonce, payee, amount::TEXT AS amount, target, input, gas, expected, pinned, signer,
    tx_nonce, state, settled_by, reason";

pub(crate) struct PostgresJournal(pub(crate) PgPool);

/// Holds a signer's advisory lock for as long as it lives, and its connection does.
pub(crate) struct Lease {
    connection: PoolConnection<sqlx::Postgres>,
}

impl Lease {
    /// Whether the lock is still held: until the connection breaks. A database that is only slow still has it.
    pub(crate) async fn is_held(&mut self) -> bool {
        let looked = sqlx::query("SELECT 1").execute(&mut *self.connection);
        let broken = tokio::time::timeout(LEASE_WAIT, looked).await.is_ok_and(|looked| looked.is_err());
        !broken
    }
}

impl PostgresJournal {
    pub(super) async fn lease(&self, signer: Address) -> Result<Lease, Error> {
        let mut connection = self.0.acquire().await?;
        let id = i32::from_be_bytes(signer.0[..4].try_into().expect("an address has 20 bytes"));
        let begun = Instant::now();
        let query = "SELECT pg_try_advisory_lock($1, $2)";
        while !sqlx::query_scalar::<_, bool>(query).bind(LOCK_CLASS).bind(id).fetch_one(&mut *connection).await? {
            if begun.elapsed() > LEASE_WAIT {
                return Err(Error::SignerInUse(signer));
            }
            tokio::time::sleep(LEASE_RETRY).await;
        }
        Ok(Lease { connection })
    }

    pub(super) async fn is_well(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.0).await.is_ok()
    }

    pub(super) async fn find(&self, key: &Key) -> sqlx::Result<Option<Entry>> {
        let query = format!(
            "SELECT {COLUMNS} FROM settlements WHERE chain_id = $1 AND method = $2 AND token = $3 AND payer = $4 AND nonce = $5"
        );
        let row = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query))
            .bind(key.chain_id as i64)
            .bind(key.method.as_str())
            .bind(key.token.as_slice())
            .bind(key.payer.as_slice())
            .bind(key.nonce.as_slice())
            .fetch_optional(&self.0)
            .await?;
        row.map(Entry::try_from).transpose()
    }

    pub(super) async fn begin(&self, transactions: &[Transaction]) -> sqlx::Result<Vec<Key>> {
        let slots = transactions.iter().map(|tx| tx.attempt.slot);
        let all: Vec<(Slot, &Settlement)> = slots
            .zip(transactions)
            .flat_map(|(slot, tx)| tx.settlements.iter().map(move |settlement| (slot, settlement)))
            .collect();
        let mut begun = pg::begin(&self.0).await?;
        let rows: Vec<KeyRow> = sqlx::query_as(
            "INSERT INTO settlements (chain_id, signer, tx_nonce, method, token, payer, nonce, payee, amount, target, input, gas,
                 expected, pinned, state)
             SELECT *, 'sent' FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::TEXT[], $5::BYTEA[], $6::BYTEA[], $7::BYTEA[],
                 $8::BYTEA[], $9::TEXT[]::NUMERIC[], $10::BYTEA[], $11::BYTEA[], $12::BIGINT[], $13::JSONB[], $14::BOOLEAN[])
             ON CONFLICT (chain_id, method, token, payer, nonce) DO UPDATE SET payee = EXCLUDED.payee, amount = EXCLUDED.amount,
                 target = EXCLUDED.target, input = EXCLUDED.input, gas = EXCLUDED.gas, expected = EXCLUDED.expected,
                 pinned = EXCLUDED.pinned, signer = EXCLUDED.signer, tx_nonce = EXCLUDED.tx_nonce, state = 'sent', reason = NULL,
                 ended_at = NULL, is_final = FALSE
                 WHERE settlements.state IN ('failed', 'again')
             RETURNING method, token, payer, nonce",
        )
        .bind(all.iter().map(|(slot, _)| slot.chain_id as i64).collect::<Vec<_>>())
        .bind(all.iter().map(|(slot, _)| slot.signer.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(slot, _)| slot.nonce as i64).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.key.method.as_str()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.key.token.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.key.payer.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.key.nonce.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.payee.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.amount.to_string()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.call.to.as_slice()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.call.input.as_ref()).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.call.gas as i64).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| Json(&s.expected)).collect::<Vec<_>>())
        .bind(all.iter().map(|(_, s)| s.signer.is_some()).collect::<Vec<_>>())
        .fetch_all(&mut *begun)
        .await?;
        if rows.len() < all.len() {
            let ours = |key: &Key| {
                rows.iter().any(|(method, token, payer, nonce)| {
                    (method.as_str(), token.as_slice(), payer.as_slice(), nonce.as_slice())
                        == (key.method.as_str(), key.token.as_slice(), key.payer.as_slice(), key.nonce.as_slice())
                })
            };
            // Dropping `begun` rolls back.
            return Ok(all.into_iter().map(|(_, settlement)| settlement.key).filter(|key| !ours(key)).collect());
        }
        insert_attempts(&mut begun, transactions.iter().map(|tx| &tx.attempt)).await?;
        begun.commit().await?;
        Ok(Vec::new())
    }

    pub(super) async fn add_attempts(&self, attempts: &[Attempt]) -> sqlx::Result<()> {
        insert_attempts(&mut *self.0.acquire().await?, attempts.iter()).await
    }

    pub(super) async fn record(&self, entries: &[Entry]) -> sqlx::Result<()> {
        let mut begun = pg::begin(&self.0).await?;
        // What is lost of this in a crash the chain tells again, and a caller is waiting.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *begun).await?;
        let settled_by = |entry: &Entry| match entry.state {
            State::Settled(hash) => Some(hash.to_vec()),
            State::Sent | State::Failed | State::Again => None,
        };
        sqlx::query(
            "UPDATE settlements s SET state = n.state, settled_by = n.settled_by, reason = n.reason,
                 ended_at = CASE WHEN n.state IN ('sent', 'again') THEN NULL ELSE now() END
             FROM UNNEST($1::BIGINT[], $2::TEXT[], $3::BYTEA[], $4::BYTEA[], $5::BYTEA[], $6::BYTEA[], $7::BIGINT[], $8::TEXT[],
                 $9::BYTEA[], $10::TEXT[])
                 AS n(chain_id, method, token, payer, nonce, signer, tx_nonce, state, settled_by, reason)
             WHERE (s.chain_id, s.method, s.token, s.payer, s.nonce) = (n.chain_id, n.method, n.token, n.payer, n.nonce)
                 AND s.signer = n.signer AND s.tx_nonce = n.tx_nonce AND NOT s.is_final",
        )
        .bind(entries.iter().map(|entry| entry.slot.chain_id as i64).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.settlement.key.method.as_str()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.settlement.key.token.as_slice()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.settlement.key.payer.as_slice()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.settlement.key.nonce.as_slice()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.slot.signer.as_slice()).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.slot.nonce as i64).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.state.as_str()).collect::<Vec<_>>())
        .bind(entries.iter().map(settled_by).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.reason.as_deref()).collect::<Vec<_>>())
        .execute(&mut *begun)
        .await?;
        begun.commit().await
    }

    pub(super) async fn close(&self, slots: &[Slot]) -> sqlx::Result<()> {
        let query = "UPDATE settlements s SET is_final = TRUE FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[])
            AS n(chain_id, signer, tx_nonce)
            WHERE s.chain_id = n.chain_id AND s.signer = n.signer AND s.tx_nonce = n.tx_nonce AND NOT s.is_final
                AND s.state <> 'again'";
        sqlx::query(query)
            .bind(slots.iter().map(|slot| slot.chain_id as i64).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.signer.as_slice()).collect::<Vec<_>>())
            .bind(slots.iter().map(|slot| slot.nonce as i64).collect::<Vec<_>>())
            .execute(&self.0)
            .await?;
        Ok(())
    }

    pub(super) async fn open(&self, chain_id: u64, signer: Address) -> sqlx::Result<Vec<Open>> {
        let query = format!(
            "SELECT {COLUMNS} FROM settlements WHERE NOT is_final AND chain_id = $1 AND signer = $2 ORDER BY tx_nonce, id"
        );
        let query = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query)).bind(chain_id as i64).bind(signer.as_slice());
        let mut open: Vec<Open> = Vec::new();
        for entry in query.fetch_all(&self.0).await?.into_iter().map(Entry::try_from) {
            let entry = entry?;
            match open.last_mut().filter(|open| open.slot == entry.slot) {
                Some(last) => last.entries.push(entry),
                None => open.push(Open { slot: entry.slot, attempts: Vec::new(), entries: vec![entry] }),
            }
        }
        let query = "SELECT tx_nonce, tx_hash, raw FROM attempts WHERE chain_id = $1 AND signer = $2 AND tx_nonce = ANY($3)
            ORDER BY created_at, tx_hash";
        let nonces: Vec<i64> = open.iter().map(|open| open.slot.nonce as i64).collect();
        let query = sqlx::query_as(query).bind(chain_id as i64).bind(signer.as_slice()).bind(nonces);
        let attempts: Vec<(i64, Vec<u8>, Vec<u8>)> = query.fetch_all(&self.0).await?;
        for (nonce, hash, raw) in attempts {
            let slot = Slot { chain_id, signer, nonce: nonce as u64 };
            if let Ok(at) = open.binary_search_by_key(&slot.nonce, |open| open.slot.nonce) {
                open[at].attempts.push(Attempt { slot, hash: word(&hash)?, raw: raw.into() });
            }
        }
        Ok(open)
    }
}

async fn insert_attempts<'a>(
    connection: &mut sqlx::PgConnection,
    attempts: impl Iterator<Item = &'a Attempt> + Clone,
) -> sqlx::Result<()> {
    let query = "INSERT INTO attempts (chain_id, signer, tx_nonce, tx_hash, raw)
        SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BYTEA[], $5::BYTEA[]) ON CONFLICT DO NOTHING";
    sqlx::query(query)
        .bind(attempts.clone().map(|attempt| attempt.slot.chain_id as i64).collect::<Vec<_>>())
        .bind(attempts.clone().map(|attempt| attempt.slot.signer.as_slice()).collect::<Vec<_>>())
        .bind(attempts.clone().map(|attempt| attempt.slot.nonce as i64).collect::<Vec<_>>())
        .bind(attempts.clone().map(|attempt| attempt.hash.as_slice()).collect::<Vec<_>>())
        .bind(attempts.map(|attempt| attempt.raw.as_ref()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// A row that this program cannot have written.
fn unreadable(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the journal has no {what} where it must have one").into())
}

fn address(bytes: &[u8]) -> sqlx::Result<Address> {
    Address::try_from(bytes).map_err(|_| unreadable("address"))
}

fn word(bytes: &[u8]) -> sqlx::Result<B256> {
    B256::try_from(bytes).map_err(|_| unreadable("32 bytes"))
}

impl TryFrom<Row> for Entry {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let state = match (row.state.as_str(), row.settled_by) {
            ("settled", Some(hash)) => State::Settled(word(&hash)?),
            ("failed", _) => State::Failed,
            ("again", _) => State::Again,
            _ => State::Sent,
        };
        let slot = Slot { chain_id: row.chain_id as u64, signer: address(&row.signer)?, nonce: row.tx_nonce as u64 };
        let key = Key {
            chain_id: slot.chain_id,
            method: Method::from_name(&row.method).ok_or_else(|| unreadable("method"))?,
            token: address(&row.token)?,
            payer: address(&row.payer)?,
            nonce: word(&row.nonce)?,
        };
        // Rows from before the columns were have no target.
        let to = if row.target.is_empty() { Address::ZERO } else { address(&row.target)? };
        let amount: U256 = row.amount.parse().map_err(|_| unreadable("amount"))?;
        // The only calls that take coin along are gifts of it.
        let value = if key.method == Method::Gas { amount } else { U256::ZERO };
        let settlement = Settlement {
            key,
            payee: address(&row.payee)?,
            amount,
            call: Call { to, input: row.input.into(), gas: row.gas as u64, value },
            expected: row.expected.0,
            signer: row.pinned.then_some(slot.signer),
            batchable: false,
            funds: None,
        };
        Ok(Self { settlement, slot, state, reason: row.reason })
    }
}
