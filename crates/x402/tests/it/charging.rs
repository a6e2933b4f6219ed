//! Scheme `upto` over HTTP: the handler says what its work cost, and that is what is settled.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alloy::primitives::U256;
use axum::{Router, extract::Path, response::IntoResponse, routing::get};
use futures::future::join_all;
use http::StatusCode;
use proptest::prelude::*;
use url::Url;
use x402::{
    Charge, ChargeError, Network, PaymentRequirements, Scheme, Token, TokenAmount,
    client::{Answer, PayError, Policy},
    header::SETTLEMENT_OVERRIDES,
    server::{PaidLayer, Pricing},
};

use crate::support::{Ledger, SELLER, client, listen};

/// At most 0.05 USDC; `/said/X` costs what X says in the header, `/typed` a fifth, `/silent` all.
async fn shop() -> (Ledger, Url, Arc<AtomicUsize>) {
    let (ledger, served) = (Ledger::default(), Arc::new(AtomicUsize::new(0)));
    let maximum: money::Usdc = "0.05".parse().unwrap();
    let offer = PaymentRequirements::upto(&Token::usdc(&Network::evm(84532)).unwrap(), maximum, SELLER, SELLER, 60);
    let counter = served.clone();
    let said = move |Path(amount): Path<String>| async move {
        counter.fetch_add(1, Ordering::SeqCst);
        ([(SETTLEMENT_OVERRIDES, format!("{{\"amount\":\"{amount}\"}}"))], "work").into_response()
    };
    let typed = || async { (axum::Extension(Charge::Percent(2_000)), "work").into_response() };
    let layer = PaidLayer::new(ledger.gate().await, Pricing::offers(vec![offer]));
    let router = Router::new().route("/said/{amount}", get(said)).route("/typed", get(typed));
    let router = router.route("/silent", get(|| async { "work" })).layer(layer);
    (ledger, listen(router).await, served)
}

async fn buy(url: &Url, path: &str) -> Result<Answer, PayError> {
    client(Policy::default()).get(url.join(path).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_handler_says_is_charged() {
    let (ledger, url, _) = shop().await;
    for (path, charged) in
        [("said/1500", 1_500), ("said/12.5%25", 6_250), ("said/$0.02", 20_000), ("typed", 10_000), ("said/0", 0)]
    {
        let answer = buy(&url, path).await.unwrap();
        let paid = answer.paid().unwrap();
        assert!(paid.response.headers().get(SETTLEMENT_OVERRIDES).is_none(), "what work costs is told to nobody else");
        assert_eq!(ledger.charged().last(), Some(&TokenAmount::from(charged)), "{path}");
    }
    buy(&url, "silent").await.unwrap();
    assert_eq!(ledger.charged().last(), Some(&50_000.into()), "who says nothing charges all");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_was_signed_is_never_sent() {
    let (ledger, url, _) = shop().await;
    let paths = ["said/50001", "said/100.01%25", "said/$0.06", "said/lots", "said/-1"];
    let answers = join_all(paths.map(|path| buy(&url, path))).await;
    let kept = |answer: &Result<Answer, PayError>| matches!(answer, Err(PayError::Indeterminate { .. }));
    assert!(answers.iter().all(kept), "the clients keep their payments: {answers:?}");
    assert_eq!(ledger.settle_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_taken_up_again_charges_the_same() {
    let (ledger, url, served) = shop().await;
    ledger.lose_answers(2);
    let answer = buy(&url, "said/1500").await.unwrap();
    assert_eq!(answer.paid().unwrap().response.status(), StatusCode::OK);
    assert_eq!(served.load(Ordering::SeqCst), 1, "the work is kept");
    assert!(ledger.charged().len() > 1 && ledger.charged().iter().all(|charged| *charged == 1_500.into()));
}

#[test]
fn the_scheme_exact_charges_its_price() {
    let price = TokenAmount::from(100);
    assert_eq!(Charge::ALL.of(price, Some(Scheme::Exact)), Ok(price));
    assert_eq!(Charge::Amount(99.into()).of(price, Some(Scheme::Exact)), Err(ChargeError::Fixed { price }));
}

proptest! {
    #[test]
    fn a_share_is_rounded_down_and_never_exceeds_the_maximum(maximum in any::<[u8; 32]>(), share in 0_u32..=10_000) {
        let maximum = TokenAmount(U256::from_be_bytes(maximum));
        let charge = Charge::Percent(share).of(maximum, Some(Scheme::Upto)).unwrap();
        // charge = floor(maximum * share / 10 000), checked in 512 bits.
        let product = maximum.0.widening_mul::<256, 4, 512, 8>(U256::from(share));
        let back = charge.0.widening_mul::<256, 4, 512, 8>(U256::from(10_000));
        prop_assert!(back <= product && product - back < alloy::primitives::U512::from(10_000));
    }

    #[test]
    fn a_charge_is_read_as_it_is_written(units in any::<u64>(), share in any::<u32>()) {
        for charge in [Charge::Amount(units.into()), Charge::Percent(share), Charge::Dollars(money::Usdc::from_base_units(units))] {
            prop_assert_eq!(Charge::from_header(charge.to_header().as_bytes()), Ok(charge));
        }
    }

    #[test]
    fn no_header_makes_a_charge_panic(content in any::<Vec<u8>>(), text in ".{0,40}") {
        let _ = Charge::from_header(&content);
        let _ = text.parse::<Charge>();
    }
}
