//! How many sales the ledger's writer appends: `ledger_load DATABASE_URL SECONDS WAITING [one]`. So many buyers wait at once; with `one`, all buy
//! of one seller. Batches are sealed meanwhile. Prints sales a second and what half and 99 of 100 waited for.

#![allow(clippy::unwrap_used, clippy::float_arithmetic, clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::primitives::{B256, keccak256};
use api::ledger::{Amount, Asset, Kind};
use market::ledger::{self, Key, Ledger, Move, Order, Party, Purpose, Rates, Sale, What};
use money::Bps;
use uuid::Uuid;

const BUYERS: u128 = 1_000;
const SELLERS: u128 = 100;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, seconds, waiting, rest @ ..] = &arguments[..] else { panic!("ledger_load DATABASE_URL SECONDS WAITING [one]") };
    let (seconds, waiting): (u64, usize) = (seconds.parse().unwrap(), waiting.parse().unwrap());
    let sellers = if rest.is_empty() { SELLERS } else { 1 };
    market::migrate(url).await.unwrap();
    let pool = market::pool(url).await.unwrap();
    let ledger = Ledger::start(pool.clone(), Rates::default());
    let run = Uuid::now_v7().as_u128();
    let party = async |number: u128| {
        let id = Uuid::from_u128(run.wrapping_add(number << 64));
        Party { id, account: ledger::open(&pool, id, Asset::Ard, Purpose::Free).await.unwrap() }
    };
    let (mut buyers, mut selling) = (Vec::new(), Vec::new());
    for number in 0..BUYERS {
        let buyer = party(number).await;
        let amount = Amount::from_units(1_000_000_000_000).unwrap();
        let grant = Move { kind: Kind::Bonus, from: 4, to: buyer.account, amount, reference: Uuid::nil(), memo: None };
        ledger.submit(Order { key: None, what: What::Move(grant) }).await.unwrap();
        buyers.push(buyer);
    }
    for number in 0..sellers {
        selling.push(party(BUYERS + number).await);
    }
    let sealing = tokio::spawn({
        let pool = pool.clone();
        async move {
            loop {
                if ledger::seal(&pool).await.unwrap() == 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    let (buyers, selling, begun) = (Arc::new(buyers), Arc::new(selling), Instant::now());
    let workers = (0..waiting).map(|worker| {
        let (ledger, buyers, selling) = (ledger.clone(), buyers.clone(), selling.clone());
        tokio::spawn(async move {
            let mut waits = Vec::new();
            let mut turn = worker;
            while begun.elapsed() < Duration::from_secs(seconds) {
                turn += waiting;
                let sale = Sale {
                    id: Uuid::now_v7(),
                    listing: Uuid::from_u128(1),
                    buyer: buyers[turn % buyers.len()],
                    seller: selling[turn % selling.len()],
                    royalty: None,
                    price: Amount::from_units(1_000).unwrap(),
                    quality: Bps::WHOLE,
                    content_hash: B256::ZERO,
                    content_size: 10_240,
                    content_type: "application/json".into(),
                    owned_for: time::Duration::ZERO,
                };
                let key = Key { key: keccak256(sale.id.as_bytes()), fingerprint: B256::ZERO };
                let asked = Instant::now();
                ledger.submit(Order { key: Some(key), what: What::Sale(sale) }).await.unwrap();
                waits.push(asked.elapsed());
            }
            waits
        })
    });
    let mut waits: Vec<Duration> = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        waits.extend(worker.await.unwrap());
    }
    let took = begun.elapsed();
    sealing.abort();
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)].as_secs_f64() * 1_000.0;
    println!("{:.0} {:.2} {:.2}", waits.len() as f64 / took.as_secs_f64(), at(50), at(99));
}
