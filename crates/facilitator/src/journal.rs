//! The settlement journal in Postgres.

use alloy::primitives::{Address, B256, Bytes, U256};
use sqlx::{FromRow, PgPool, types::Json};

use crate::settlement::{Call, Entry, Expected, Key, Method, Settlement, Slot, State};

/// A transaction that is about to be sent.
pub(crate) struct Transaction {
    pub(crate) slot: Slot,
    pub(crate) hash: B256,
    pub(crate) raw: Bytes,
    /// What it settles.
    pub(crate) settlements: Vec<Settlement>,
}

/// The end of a settlement.
pub(crate) struct Ending {
    pub(crate) key: Key,
    /// Of the try that ended.
    pub(crate) slot: Slot,
    /// By which transaction, if it happened.
    pub(crate) settled_by: Option<B256>,
    /// Why it did not.
    pub(crate) reason: Option<String>,
}

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

const COLUMNS: &str =
    "chain_id, method, token, payer, nonce, payee, amount::TEXT AS amount, target, input, gas, expected, pinned, signer,
    tx_nonce, state, settled_by, reason";

#[derive(Clone)]
pub(crate) struct Journal(pub(crate) PgPool);

impl Journal {
    pub(crate) async fn find(&self, key: &Key) -> sqlx::Result<Option<Entry>> {
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

    /// Writes what is about to be sent, all of it or nothing. A failed settlement is taken up again.
    ///
    /// Answers which settlements somebody else began before; then nothing was written.
    pub(crate) async fn begin(&self, transactions: &[Transaction]) -> sqlx::Result<Vec<Key>> {
        let all: Vec<(&Slot, &Settlement)> =
            transactions.iter().flat_map(|tx| tx.settlements.iter().map(|settlement| (&tx.slot, settlement))).collect();
        let mut begun = self.0.begin().await?;
        let rows: Vec<(String, Vec<u8>, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "INSERT INTO settlements (chain_id, signer, tx_nonce, method, token, payer, nonce, payee, amount, target, input, gas,
                 expected, pinned, state)
             SELECT *, 'sent' FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::TEXT[], $5::BYTEA[], $6::BYTEA[], $7::BYTEA[],
                 $8::BYTEA[], $9::TEXT[]::NUMERIC[], $10::BYTEA[], $11::BYTEA[], $12::BIGINT[], $13::JSONB[], $14::BOOLEAN[])
             ON CONFLICT (chain_id, method, token, payer, nonce) DO UPDATE SET payee = EXCLUDED.payee, amount = EXCLUDED.amount,
                 target = EXCLUDED.target, input = EXCLUDED.input, gas = EXCLUDED.gas, expected = EXCLUDED.expected,
                 pinned = EXCLUDED.pinned, signer = EXCLUDED.signer, tx_nonce = EXCLUDED.tx_nonce, state = 'sent', reason = NULL,
                 ended_at = NULL, is_final = FALSE
                 WHERE settlements.state = 'failed'
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
        insert_attempts(&mut begun, transactions.iter().map(|tx| (tx.slot, tx.hash, &tx.raw))).await?;
        begun.commit().await?;
        Ok(Vec::new())
    }

    /// Writes a replacement, before it is sent.
    pub(crate) async fn add_attempt(&self, slot: Slot, hash: B256, raw: &Bytes) -> sqlx::Result<()> {
        let mut connection = self.0.acquire().await?;
        insert_attempts(&mut connection, [(slot, hash, raw)].into_iter()).await
    }

    /// All attempts, oldest first.
    pub(crate) async fn attempts(&self, slot: Slot) -> sqlx::Result<Vec<(B256, Bytes)>> {
        let query = "SELECT tx_hash, raw FROM attempts WHERE chain_id = $1 AND signer = $2 AND tx_nonce = $3 ORDER BY created_at, tx_hash";
        let query = sqlx::query_as(query).bind(slot.chain_id as i64).bind(slot.signer.as_slice()).bind(slot.nonce as i64);
        let rows: Vec<(Vec<u8>, Vec<u8>)> = query.fetch_all(&self.0).await?;
        rows.into_iter().map(|(hash, raw)| Ok((word(&hash)?, raw.into()))).collect()
    }

    /// The end of a settlement's try; the first one written stays.
    pub(crate) async fn end(&self, ending: &Ending) -> sqlx::Result<()> {
        let Ending { key, slot, settled_by, reason } = ending;
        let query = "UPDATE settlements SET state = $6, settled_by = $7, reason = $8, ended_at = now(), is_final = TRUE
             WHERE chain_id = $1 AND method = $2 AND token = $3 AND payer = $4 AND nonce = $5 AND state = 'sent'
                 AND signer = $9 AND tx_nonce = $10";
        sqlx::query(query)
            .bind(key.chain_id as i64)
            .bind(key.method.as_str())
            .bind(key.token.as_slice())
            .bind(key.payer.as_slice())
            .bind(key.nonce.as_slice())
            .bind(if settled_by.is_some() { "settled" } else { "failed" })
            .bind(settled_by.as_ref().map(|hash| hash.as_slice()))
            .bind(reason)
            .bind(slot.signer.as_slice())
            .bind(slot.nonce as i64)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// What may still be mined, in the order in which it must be.
    pub(crate) async fn unended(&self, chain_id: u64, signer: Address) -> sqlx::Result<Vec<Entry>> {
        let query = format!(
            "SELECT {COLUMNS} FROM settlements WHERE NOT is_final AND state = 'sent' AND chain_id = $1 AND signer = $2
             ORDER BY tx_nonce, id"
        );
        let query = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query)).bind(chain_id as i64).bind(signer.as_slice());
        query.fetch_all(&self.0).await?.into_iter().map(Entry::try_from).collect()
    }
}

async fn insert_attempts(
    connection: &mut sqlx::PgConnection,
    attempts: impl Iterator<Item = (Slot, B256, &Bytes)> + Clone,
) -> sqlx::Result<()> {
    let query = "INSERT INTO attempts (chain_id, signer, tx_nonce, tx_hash, raw)
        SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BYTEA[], $5::BYTEA[]) ON CONFLICT DO NOTHING";
    let attempts: Vec<_> = attempts.collect();
    sqlx::query(query)
        .bind(attempts.iter().map(|(slot, ..)| slot.chain_id as i64).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(slot, ..)| slot.signer.as_slice()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(slot, ..)| slot.nonce as i64).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, hash, _)| hash.as_slice()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, _, raw)| raw.as_ref()).collect::<Vec<_>>())
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
        let settlement = Settlement {
            key,
            payee: address(&row.payee)?,
            amount,
            call: Call { to, input: row.input.into(), gas: row.gas as u64 },
            expected: row.expected.0,
            signer: row.pinned.then_some(slot.signer),
        };
        Ok(Self { settlement, slot, state, reason: row.reason })
    }
}
