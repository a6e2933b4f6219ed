//! `florin facilitator` under `kill -9`: no payment that was accepted is lost, and none moves money twice.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    primitives::{B256, U256},
    providers::ext::AnvilApi,
    signers::{SignerSync, local::PrivateKeySigner},
};
use money::Usdc;
use stack::{Account, AnvilOptions, Chain, Postgres};
use tokio::{sync::Notify, task::JoinSet};
use x402::{
    Eip3009Authorization, Eip3009Payload, ExactPayload, Network, PaymentPayload, PaymentRequest, PaymentRequirements, Token,
    TokenDomain, V2,
};

use crate::cli::{Running, florin};

/// `FLORIN_TEST_PAYMENTS` asks for another number.
const PAYMENTS: u64 = 120;
const CALLERS: usize = 50;
/// How long each process lives, and longer until it has answered somebody: a slow machine must get on, too.
const LIFE: Duration = Duration::from_millis(1_500);
const PRICE: Usdc = Usdc::from_base_units(10_000);

fn payments(payer: &PrivateKeySigner, payee: &PrivateKeySigner, count: u64) -> VecDeque<PaymentRequest> {
    let requirements =
        PaymentRequirements::exact(&Token::usdc(&Network::evm(stack::CHAIN_ID)).unwrap(), PRICE, payee.address(), 60);
    let domain = TokenDomain::of(&requirements).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let payment = |index: u64| {
        let authorization = Eip3009Authorization {
            from: payer.address(),
            to: payee.address(),
            value: PRICE.into(),
            valid_after: 0.into(),
            valid_before: (now + 3_600).into(),
            nonce: B256::from(U256::from(index)),
        };
        let signature = payer.sign_hash_sync(&authorization.signing_hash(&domain)).unwrap().as_bytes().into();
        let payload = ExactPayload::Eip3009(Eip3009Payload { signature, authorization }).to_json();
        let accepted = requirements.clone();
        let payment_payload = PaymentPayload { x402_version: V2, resource: None, accepted, payload, extensions: None };
        PaymentRequest { x402_version: V2, payment_payload, payment_requirements: requirements.clone() }
    };
    (0..count).map(payment).collect()
}

/// Asks for the settlement of one payment after another, each until it is answered with success.
async fn call(url: Arc<Mutex<String>>, payments: Arc<Mutex<VecDeque<PaymentRequest>>>, answered: Arc<Notify>) {
    let client = reqwest::Client::new();
    loop {
        let Some(payment) = payments.lock().unwrap().pop_front() else { return };
        loop {
            let at = url.lock().unwrap().clone();
            let answer = client.post(format!("{at}/settle")).json(&payment).send().await;
            // Whatever a dying process leaves of an answer.
            let said = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if said.contains("\"success\":true") {
                answered.notify_one();
                break;
            }
            assert!(!said.contains("errorReason") || said.contains("settlement_pending"), "{said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn killed_again_and_again(chain: &Chain, journal: &[&str], database_url: Option<&str>) {
    let count = std::env::var("FLORIN_TEST_PAYMENTS").map_or(PAYMENTS, |count| count.parse().unwrap());
    let (payer, payee, signer) = (PrivateKeySigner::random(), PrivateKeySigner::random(), Account::at(Account::FACILITATOR));
    chain.mint(payer.address(), PRICE.checked_mul(count).unwrap()).await.unwrap();
    let start = || {
        let mut command = florin(&["facilitator", "--listen", "127.0.0.1:0", "--rpc-url", chain.rpc_url().as_str()]);
        command.args(journal).env("FLORIN_FACILITATOR_KEYS", signer.key());
        if let Some(database_url) = database_url {
            command.env("DATABASE_URL", database_url);
        }
        let running = Running::start(&mut command, "facilitator on ", true);
        let url = running.announced.trim().rsplit(' ').next().unwrap().to_owned();
        (running, url)
    };
    let (mut running, first) = start();
    let url = Arc::new(Mutex::new(first));
    let waiting = Arc::new(Mutex::new(payments(&payer, &payee, count)));
    let (mut callers, answered) = (JoinSet::new(), Arc::new(Notify::new()));
    (0..CALLERS).for_each(|_| drop(callers.spawn(call(url.clone(), waiting.clone(), answered.clone()))));
    let mut kills = 0;
    while !callers.is_empty() {
        let life = async { while callers.join_next().await.map(Result::unwrap).is_some() {} };
        let end = async { tokio::join!(tokio::time::sleep(LIFE), answered.notified()) };
        tokio::select! {
            () = life => break,
            _ = end => {}
        }
        // SIGKILL.
        drop(running);
        kills += 1;
        let (next, at) = start();
        running = next;
        *url.lock().unwrap() = at;
    }
    assert!(kills > 1, "it was killed while it settled");
    assert_eq!(chain.balance(payee.address()).await.unwrap(), PRICE.checked_mul(count).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_lost_or_repeated_however_often_the_facilitator_is_killed() {
    let chain = Chain::start(&AnvilOptions::default()).await.unwrap();
    let postgres = Postgres::start(None).await.unwrap();
    let database = postgres.create("facilitator", None).await.unwrap();
    // Blocks that take a while, so that there is something to lose.
    chain.provider().anvil_set_interval_mining(1).await.unwrap();
    killed_again_and_again(&chain, &[], Some(&database.url)).await;
    let file = format!("file:{}", chain.directory().join("journal").display());
    killed_again_and_again(&chain, &["--journal", &file], None).await;
}
