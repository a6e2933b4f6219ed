//! The ledger's writer alone, without HTTP: so many buyers wait at once, and batches are sealed meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::{B256, keccak256};
use anyhow::Result;
use api::ledger::{Amount, Asset};
use market::ledger::{self, Key, Ledger, Order, Party, Purpose, Rates, Sale, What};
use money::Bps;
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    load::{Seen, summary},
    people::People,
};

/// 0.001 ARD.
const PRICE: u64 = 1_000;

pub(crate) async fn run(pool: &PgPool, people: &People, waiting: usize, sellers: usize, duration: Duration) -> Result<Seen> {
    let ledger = Ledger::start(pool.clone(), Rates::default());
    let party =
        async |id: &Uuid| anyhow::Ok(Party { id: *id, account: ledger::open(pool, *id, Asset::Ard, Purpose::Free).await? });
    let (mut buyers, mut selling) = (Vec::new(), Vec::new());
    for buyer in &people.buyers {
        buyers.push(party(&buyer.id).await?);
    }
    for seller in people.sellers.iter().take(sellers) {
        selling.push(party(&seller.id).await?);
    }
    let sealing = tokio::spawn(seal(pool.clone()));
    let (buyers, selling, begun) = (Arc::new(buyers), Arc::new(selling), Instant::now());
    let mut tasks = JoinSet::new();
    for worker in 0..waiting {
        let (ledger, buyers, selling) = (ledger.clone(), buyers.clone(), selling.clone());
        tasks.spawn(async move {
            let (mut waits, mut turn) = (Vec::new(), worker);
            while begun.elapsed() < duration {
                turn += waiting;
                let order = sale(buyers[turn % buyers.len()], selling[turn % selling.len()]);
                let asked = Instant::now();
                ledger.submit(order).await?;
                waits.push(asked.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let seen = summary(&mut waits, begun.elapsed().as_secs_f64());
    sealing.abort();
    Ok(seen)
}

fn sale(buyer: Party, seller: Party) -> Order {
    let sale = Sale {
        id: Uuid::now_v7(),
        listing: Uuid::from_u128(1),
        buyer,
        seller,
        royalty: None,
        price: Amount::from_units(PRICE).unwrap_or_default(),
        quality: Bps::WHOLE,
        // A person's first purchase, with all the legs that a sale can have.
        rewarded: Some(Uuid::now_v7()),
        content_hash: B256::ZERO,
        content_size: 10_240,
        content_type: "application/json".into(),
        owned_for: time::Duration::ZERO,
        offered: None,
    };
    let key = Key { key: keccak256(sale.id.as_bytes()), fingerprint: B256::ZERO };
    Order { key: Some(key), what: What::Sale(sale) }
}

async fn seal(pool: PgPool) -> sqlx::Result<()> {
    loop {
        if ledger::seal(&pool).await? == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
