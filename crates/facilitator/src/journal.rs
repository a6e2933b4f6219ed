//! The settlement journal in Postgres.

use alloy::primitives::{Address, B256, Bytes, U256};
use sqlx::{FromRow, PgPool};
use x402::TransferMethod;

use crate::token::Transfer;

/// What identifies a payment: the token, or Permit2, burns the nonce once per payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) chain_id: u64,
    pub(crate) method: TransferMethod,
    pub(crate) token: Address,
    pub(crate) payer: Address,
    pub(crate) nonce: B256,
}

/// What is to be sent, before it is.
pub(crate) struct Intent {
    pub(crate) key: Key,
    pub(crate) payee: Address,
    pub(crate) amount: U256,
    pub(crate) signer: Address,
    pub(crate) tx_nonce: u64,
    pub(crate) tx_hash: B256,
    pub(crate) raw: Bytes,
}

/// How far a settlement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Sent,
    Settled(B256),
    Failed,
}

/// A row of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) key: Key,
    pub(crate) payee: Address,
    pub(crate) amount: U256,
    pub(crate) signer: Address,
    pub(crate) tx_nonce: u64,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
}

impl Entry {
    /// What its transaction must show.
    pub(crate) fn transfer(&self) -> Transfer {
        Transfer { token: self.key.token, from: self.key.payer, to: self.payee, amount: self.amount }
    }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    chain_id: i64,
    method: String,
    token: Vec<u8>,
    payer: Vec<u8>,
    nonce: Vec<u8>,
    payee: Vec<u8>,
    amount: String,
    signer: Vec<u8>,
    tx_nonce: i64,
    state: String,
    settled_by: Option<Vec<u8>>,
    reason: Option<String>,
}

const COLUMNS: &str =
    "id, chain_id, method, token, payer, nonce, payee, amount::TEXT AS amount, signer, tx_nonce, state, settled_by, reason";

#[derive(Clone)]
pub(crate) struct Journal(pub(crate) PgPool);

impl Journal {
    pub(crate) async fn find(&self, key: &Key) -> sqlx::Result<Option<Entry>> {
        let query = format!(
            "SELECT {COLUMNS} FROM settlements WHERE chain_id = $1 AND method = $2 AND token = $3 AND payer = $4 AND nonce = $5"
        );
        let query = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query)).bind(key.chain_id as i64);
        let row = query
            .bind(key.method.as_str())
            .bind(key.token.as_slice())
            .bind(key.payer.as_slice())
            .bind(key.nonce.as_slice())
            .fetch_optional(&self.0)
            .await?;
        Ok(row.map(Entry::from))
    }

    /// Writes what is about to be sent. `None` when another request was first; a failed settlement is taken up again.
    pub(crate) async fn begin(&self, intent: &Intent) -> sqlx::Result<Option<Entry>> {
        let mut tx = self.0.begin().await?;
        let query = format!(
            "INSERT INTO settlements (chain_id, token, payer, nonce, payee, amount, signer, tx_nonce, method, state)
             VALUES ($1, $2, $3, $4, $5, $6::NUMERIC, $7, $8, $9, 'sent')
             ON CONFLICT (chain_id, method, token, payer, nonce) DO UPDATE SET payee = EXCLUDED.payee, amount = EXCLUDED.amount,
                 signer = EXCLUDED.signer, tx_nonce = EXCLUDED.tx_nonce, state = 'sent', reason = NULL, ended_at = NULL
                 WHERE settlements.state = 'failed'
             RETURNING {COLUMNS}"
        );
        let Key { chain_id, method, token, payer, nonce } = &intent.key;
        let row = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query))
            .bind(*chain_id as i64)
            .bind(token.as_slice())
            .bind(payer.as_slice())
            .bind(nonce.as_slice())
            .bind(intent.payee.as_slice())
            .bind(intent.amount.to_string())
            .bind(intent.signer.as_slice())
            .bind(intent.tx_nonce as i64)
            .bind(method.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        // Attempts of a failed try were never mined and never will be.
        sqlx::query("DELETE FROM attempts WHERE settlement_id = $1").bind(row.id).execute(&mut *tx).await?;
        insert_attempt(&mut tx, row.id, intent.tx_hash, &intent.raw).await?;
        tx.commit().await?;
        Ok(Some(row.into()))
    }

    pub(crate) async fn add_attempt(&self, id: i64, tx_hash: B256, raw: &Bytes) -> sqlx::Result<()> {
        let mut connection = self.0.acquire().await?;
        insert_attempt(&mut connection, id, tx_hash, raw).await
    }

    /// All attempts, oldest first.
    pub(crate) async fn attempts(&self, id: i64) -> sqlx::Result<Vec<(B256, Bytes)>> {
        let query = "SELECT tx_hash, raw FROM attempts WHERE settlement_id = $1 ORDER BY created_at, tx_hash";
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(query).bind(id).fetch_all(&self.0).await?;
        Ok(rows.into_iter().map(|(hash, raw)| (B256::from_slice(&hash), raw.into())).collect())
    }

    /// The end of a settlement; the first one written stays.
    pub(crate) async fn end(&self, id: i64, settled_by: Option<B256>, reason: Option<&str>) -> sqlx::Result<()> {
        let query =
            "UPDATE settlements SET state = $2, settled_by = $3, reason = $4, ended_at = now() WHERE id = $1 AND state = 'sent'";
        let state = if settled_by.is_some() { "settled" } else { "failed" };
        let hash = settled_by.as_ref().map(|hash| hash.as_slice());
        sqlx::query(query).bind(id).bind(state).bind(hash).bind(reason).execute(&self.0).await?;
        Ok(())
    }

    pub(crate) async fn by_id(&self, id: i64) -> sqlx::Result<Entry> {
        let query = format!("SELECT {COLUMNS} FROM settlements WHERE id = $1");
        Ok(sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query)).bind(id).fetch_one(&self.0).await?.into())
    }

    /// What may still be mined, in the order in which it must be.
    pub(crate) async fn unended(&self, chain_id: u64, signer: Address) -> sqlx::Result<Vec<Entry>> {
        let query =
            format!("SELECT {COLUMNS} FROM settlements WHERE state = 'sent' AND chain_id = $1 AND signer = $2 ORDER BY tx_nonce");
        let query = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(query)).bind(chain_id as i64).bind(signer.as_slice());
        Ok(query.fetch_all(&self.0).await?.into_iter().map(Entry::from).collect())
    }
}

async fn insert_attempt(connection: &mut sqlx::PgConnection, id: i64, tx_hash: B256, raw: &Bytes) -> sqlx::Result<()> {
    let query = "INSERT INTO attempts (tx_hash, settlement_id, raw) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    sqlx::query(query).bind(tx_hash.as_slice()).bind(id).bind(raw.as_ref()).execute(connection).await?;
    Ok(())
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let state = match (row.state.as_str(), row.settled_by) {
            ("settled", Some(hash)) => State::Settled(B256::from_slice(&hash)),
            ("failed", _) => State::Failed,
            _ => State::Sent,
        };
        let key = Key {
            chain_id: row.chain_id as u64,
            method: TransferMethod::from_name(&row.method).expect("the table allows no other"),
            token: Address::from_slice(&row.token),
            payer: Address::from_slice(&row.payer),
            nonce: B256::from_slice(&row.nonce),
        };
        Self {
            id: row.id,
            key,
            payee: Address::from_slice(&row.payee),
            amount: row.amount.parse().expect("a NUMERIC(78, 0) that was written from a uint256"),
            signer: Address::from_slice(&row.signer),
            tx_nonce: row.tx_nonce as u64,
            state,
            reason: row.reason,
        }
    }
}
