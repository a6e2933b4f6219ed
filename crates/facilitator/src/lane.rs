//! A signer and its nonces: one lane, in which transactions follow each other without waiting for the one before.

use std::time::{Duration, Instant};

use alloy::{
    eips::{eip1559::Eip1559Estimation, eip2718::Encodable2718},
    network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder},
    primitives::{Address, B256, Bytes},
    providers::{DynProvider, Provider},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use sqlx::{PgConnection, pool::PoolConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::{Error, journal::Journal, settlement::Call};

/// How long an estimate of fees is good.
const FEES_AGE_MAX: Duration = Duration::from_secs(1);
/// A predecessor that is just ending may hold the signer for a moment.
const LEASE_WAIT: Duration = Duration::from_secs(3);
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// Classid of the advisory locks by which a signer belongs to one instance.
const LOCK_CLASS: i32 = 0x6661_6369;

pub(crate) struct Lane {
    wallet: EthereumWallet,
    address: Address,
    provider: DynProvider,
    chain_id: u64,
    /// The nonce of the next transaction, unless it must be read anew. Held while one is journalled and sent, so that they leave in order.
    next: Mutex<Option<u64>>,
    fees: Mutex<Option<(Instant, Eip1559Estimation)>>,
    /// Holds the advisory lock for as long as we live.
    _lease: PoolConnection<sqlx::Postgres>,
}

/// The right to use the lane's next nonce.
pub(crate) struct Turn<'a> {
    pub(crate) nonce: u64,
    next: MutexGuard<'a, Option<u64>>,
}

impl Turn<'_> {
    /// The next turn asks the chain and the journal for its nonce.
    pub(crate) fn forget(&mut self) {
        *self.next = None;
    }

    /// The next turn's nonce.
    pub(crate) fn set(&mut self, nonce: u64) {
        *self.next = Some(nonce);
    }
}

/// A transaction, signed and not yet sent.
pub(crate) struct Signed {
    pub(crate) hash: B256,
    pub(crate) raw: Bytes,
}

impl Lane {
    /// Takes the signer for this instance and finds its next nonce: after everything the node knows and everything the journal has sent.
    pub(crate) async fn open(
        signer: PrivateKeySigner,
        provider: DynProvider,
        chain_id: u64,
        journal: &Journal,
    ) -> Result<Self, Error> {
        let address = signer.address();
        let mut lease = journal.0.acquire().await?;
        let begun = Instant::now();
        while !lock(&mut lease, address).await? {
            if begun.elapsed() > LEASE_WAIT {
                return Err(Error::SignerInUse(address));
            }
            tokio::time::sleep(LEASE_RETRY).await;
        }
        let next = next_nonce(&provider, chain_id, address, journal).await?;
        Ok(Self {
            wallet: EthereumWallet::from(signer),
            address,
            provider,
            chain_id,
            next: Mutex::new(Some(next)),
            fees: Mutex::new(None),
            _lease: lease,
        })
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// The turn to send.
    pub(crate) async fn turn(&self, journal: &Journal) -> Result<Turn<'_>, Error> {
        let mut next = self.next.lock().await;
        let nonce = match *next {
            Some(nonce) => nonce,
            None => next_nonce(&self.provider, self.chain_id, self.address, journal).await?,
        };
        *next = Some(nonce);
        Ok(Turn { nonce, next })
    }

    /// Looks where the chain is, after somebody else used the key.
    pub(crate) async fn resync(&self) -> Result<(), Error> {
        let mut next = self.next.lock().await;
        let pending = self.provider.get_transaction_count(self.address).pending().await?;
        *next = next.map(|next| next.max(pending));
        Ok(())
    }

    /// Signs a call with this nonce; `bump` times 25 % above the going fees.
    pub(crate) async fn sign(&self, nonce: u64, call: &Call, bump: u32) -> Result<Signed, Error> {
        let mut fees = self.fees().await?;
        for _ in 0..bump {
            fees.max_fee_per_gas += fees.max_fee_per_gas / 4 + 1;
            fees.max_priority_fee_per_gas += fees.max_priority_fee_per_gas / 4 + 1;
        }
        let request = TransactionRequest::default()
            .with_chain_id(self.chain_id)
            .with_nonce(nonce)
            .with_to(call.to)
            .with_input(call.input.clone())
            .with_gas_limit(call.gas)
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
        let envelope = request.build(&self.wallet).await.map_err(alloy::signers::Error::other)?;
        Ok(Signed { hash: *envelope.tx_hash(), raw: envelope.encoded_2718().into() })
    }

    async fn fees(&self) -> Result<Eip1559Estimation, Error> {
        let mut cached = self.fees.lock().await;
        if let Some((asked, fees)) = *cached
            && asked.elapsed() < FEES_AGE_MAX
        {
            return Ok(fees);
        }
        let fees = self.provider.estimate_eip1559_fees().await?;
        *cached = Some((Instant::now(), fees));
        Ok(fees)
    }
}

/// After everything the node knows and everything the journal has sent.
async fn next_nonce(provider: &DynProvider, chain_id: u64, signer: Address, journal: &Journal) -> Result<u64, Error> {
    let journalled = journal.unended(chain_id, signer).await?.last().map_or(0, |entry| entry.slot.nonce + 1);
    let pending = provider.get_transaction_count(signer).pending().await?;
    Ok(pending.max(journalled))
}

async fn lock(connection: &mut PgConnection, signer: Address) -> sqlx::Result<bool> {
    let id = i32::from_be_bytes(signer.0[..4].try_into().expect("an address has 20 bytes"));
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)").bind(LOCK_CLASS).bind(id).fetch_one(connection).await
}
