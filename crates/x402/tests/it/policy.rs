//! Rules of a policy: each refuses with its own figure, in the documented order, and nothing is signed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::primitives::{Address, address};
use futures::future::join_all;
use money::Usdc;
use proptest::prelude::*;
use x402::{
    PaymentRequirements, Token,
    client::{Budget, Client, Hooks, HostPattern, KeyPayer, PayError, Period, Policy, Proposal, Purse, Refusal},
};

use crate::{
    paying::{Seller, refusal},
    support::{SELLER, client, offer},
};

fn usdc(text: &str) -> Usdc {
    text.parse().unwrap()
}

const OTHER: Address = address!("00000000000000000000000000000000000000bb");

#[test]
fn a_host_pattern_covers_what_it_names_and_nothing_that_looks_like_it() {
    for (pattern, covered, not_covered) in [
        ("api.example", ["api.example", "API.Example."], ["x.api.example", "api.example.evil"]),
        ("*.example", ["api.example", "a.b.example"], ["example", "evilexample"]),
        ("*", ["api.example", "127.0.0.1"], ["", ""]),
        ("*example", ["", ""], ["evilexample", "example"]),
    ] {
        let pattern = HostPattern::from(pattern);
        assert!(covered.iter().filter(|host| !host.is_empty()).all(|host| pattern.covers(host)), "{pattern:?}");
        assert!(!not_covered.iter().filter(|host| !host.is_empty()).any(|host| pattern.covers(host)), "{pattern:?}");
    }
}

#[tokio::test]
async fn who_is_denied_is_not_paid_although_allowed() {
    let policy = || Policy::default().allow_payee(SELLER).allow_network(offer("1").network);
    let (_, url) = Seller::new(vec![offer("0.01")], &[200]).await;
    client(policy()).get(url).await.unwrap();

    let cases = [
        (policy().allow_host("*").deny_host("127.0.0.1"), Refusal::HostNotAllowed("127.0.0.1".into())),
        (policy().deny_payee(SELLER), Refusal::PayeeNotAllowed(SELLER)),
        (Policy::default().allow_payee(OTHER), Refusal::PayeeNotAllowed(SELLER)),
        (policy().deny_network(offer("1").network), Refusal::NetworkNotAllowed(offer("1").network)),
    ];
    for (policy, expected) in cases {
        assert_eq!(refusal(vec![offer("0.01")], policy).await, expected);
    }
    let token = Token::usdc(&offer("1").network).unwrap();
    let denied = Policy::default().allow_asset(token.clone()).deny_asset(token.network, token.address);
    assert!(matches!(refusal(vec![offer("0.01")], denied).await, Refusal::UnknownAsset { .. }));
}

#[tokio::test]
async fn a_client_has_budgets_for_everything_for_each_host_and_for_each_token() {
    let asset = format!("eip155:84532/{}", offer("1").asset_address().unwrap());
    let (seller, url) = Seller::new(vec![offer("0.30")], &[200]).await;
    for (policy, budget) in [
        (Policy::default().budget(usdc("0.50")), Budget::All(Period::Client)),
        (Policy::default().budget_per_host(usdc("0.50")), Budget::Host(Period::Client, "127.0.0.1".into())),
        (Policy::default().budget_per_asset(usdc("0.50")), Budget::Asset(Period::Client, asset)),
    ] {
        let client = client(policy);
        client.get(url.clone()).await.unwrap();
        let Err(PayError::Refused(refused)) = client.get(url.clone()).await else { panic!("{budget}") };
        assert_eq!(refused, Refusal::Exhausted { price: usdc("0.30"), left: usdc("0.20"), max: usdc("0.50"), budget });
    }
    assert_eq!(seller.distinct_payments(), 3);
}

/// Asks `answer` above 10 cents, and keeps what it was asked.
fn asking(answer: Option<bool>) -> (Policy, Arc<Mutex<Vec<Proposal>>>) {
    let asked = Arc::<Mutex<Vec<Proposal>>>::default();
    let kept = asked.clone();
    let policy = Policy::default().approve_above(usdc("0.10"), Duration::from_millis(50), move |proposal| {
        kept.lock().unwrap().push(proposal);
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    (policy, asked)
}

#[tokio::test]
async fn above_the_threshold_somebody_is_asked_and_silence_is_a_no() {
    let (price, threshold) = (usdc("0.11"), usdc("0.10"));
    let (policy, asked) = asking(Some(false));
    assert_eq!(refusal(vec![offer("0.11")], policy).await, Refusal::Declined { price, threshold });
    assert_eq!(asked.lock().unwrap()[0].price, price);
    let (policy, _) = asking(None);
    assert_eq!(refusal(vec![offer("0.11")], policy).await, Refusal::NotApprovedInTime { price, threshold, waited_secs: 0 });

    let (policy, asked) = asking(Some(true));
    let (_, url) = Seller::new(vec![offer("0.11")], &[200]).await;
    client(policy.clone()).get(url).await.unwrap();
    let (_, cheap) = Seller::new(vec![offer("0.10")], &[200]).await;
    client(policy.clone()).get(cheap).await.unwrap();
    assert!(matches!(refusal(vec![offer("1.01")], policy).await, Refusal::TooExpensive { .. }));
    assert_eq!(asked.lock().unwrap().len(), 1, "nobody is asked about what is cheap, nor about what is forbidden anyway");
}

#[tokio::test]
async fn while_somebody_is_asked_the_price_counts() {
    let (seller, url) = Seller::new(vec![offer("0.30")], &[200]).await;
    let policy = Policy::default().budget(usdc("0.90")).approve_above(usdc("0.10"), Duration::from_secs(60), |_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        true
    });
    let client = client(policy);
    let answers = join_all((0..10).map(|_| client.get(url.clone()))).await;
    assert_eq!((answers.iter().filter(|answer| answer.is_ok()).count(), seller.distinct_payments()), (3, 3));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>);

impl Hooks for Log {
    fn on_payment_required(&self, _: &url::Url, offers: &[PaymentRequirements]) {
        self.0.lock().unwrap().push(format!("asked {}", offers.len()));
    }

    fn before_payment(&self, proposal: &Proposal) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("before {}", proposal.price));
        if self.1.load(Ordering::SeqCst) > 0 { Err("closed".into()) } else { Ok(()) }
    }

    fn after_payment(&self, _: &Proposal) {
        self.0.lock().unwrap().push("signed".into());
    }

    fn on_failure(&self, _: &url::Url, error: &PayError) {
        self.0.lock().unwrap().push(format!("failed {error}"));
    }

    fn on_response(&self, _: &url::Url, receipt: Option<&x402::SettleResponse>) {
        self.0.lock().unwrap().push(format!("answered {}", receipt.is_some()));
    }
}

#[tokio::test]
async fn hooks_hear_of_every_step_and_may_forbid_the_signature() {
    let (seller, url) = Seller::new(vec![offer("0.05")], &[200]).await;
    let log = Log::default();
    let purse = Purse::new(KeyPayer::new(alloy::signers::local::PrivateKeySigner::random()), Policy::default());
    let client = Client::with(purse.hooks(log.clone()), |builder| builder).unwrap();
    client.get(url.clone()).await.unwrap();
    log.1.store(1, Ordering::SeqCst);
    let refused = client.get(url).await;
    assert!(matches!(&refused, Err(PayError::Refused(Refusal::Vetoed(why))) if why == "closed"), "{refused:?}");
    let expected = [
        "asked 1",
        "before 0.05",
        "signed",
        "answered false",
        "asked 1",
        "before 0.05",
        "failed not paid: not allowed by the program: closed",
    ];
    assert_eq!(*log.0.lock().unwrap(), expected);
    assert_eq!((seller.distinct_payments(), client.spent()), (1, usdc("0.05")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever is asked in whatever order, no budget is exceeded and what is refused would have exceeded one.
    #[test]
    fn budgets_are_never_exceeded(prices in prop::collection::vec(1_u64..400_000, 1..12), all in 1_u64..1_000_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = client(Policy::default().budget(Usdc::from_base_units(all)));
            let mut spent = 0;
            for price in prices {
                let price = Usdc::from_base_units(price);
                let (_, url) = Seller::new(vec![offer(&price.to_string())], &[200]).await;
                let paid = client.get(url).await.is_ok();
                assert_eq!(paid, spent + price.base_units() <= all);
                spent += if paid { price.base_units() } else { 0 };
                assert_eq!(client.spent().base_units(), spent);
            }
        });
    }
}
