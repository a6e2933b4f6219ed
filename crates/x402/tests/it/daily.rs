//! The daily budget: what crashes, and whoever else pays, no more than it is signed in a day.

use std::path::Path;

use axum::{Router, response::IntoResponse, routing::get};
use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use url::Url;
use x402::{
    PaymentRequired, ResourceInfo, V2,
    client::{BudgetError, DailyBudget, PayError, Policy, Refusal},
    header,
};

use crate::support::{client, listen, offer};

/// Sells everything for 10 cents.
async fn shop() -> Url {
    let sell = |headers: HeaderMap| async move {
        if headers.contains_key(header::PAYMENT_SIGNATURE) {
            return StatusCode::OK.into_response();
        }
        let (resource, accepts) = (ResourceInfo::new("http://shop/"), vec![offer("0.10")]);
        let required = PaymentRequired { x402_version: V2, error: None, resource, accepts, extensions: None };
        (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response()
    };
    listen(Router::new().route("/", get(sell))).await
}

/// Pays once, as a process of its own would: with a client, a budget and a payer that share nothing but the file.
async fn buy(url: &Url, budget: DailyBudget) -> Result<(), PayError> {
    client(Policy::default().daily(budget)).get(url.clone()).await.map(|_| ())
}

fn budget(folder: &Path) -> DailyBudget {
    DailyBudget::new(folder.join("spent"), "0.35".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_share_a_file_never_exceed_it_together() {
    let (shop, folder) = (shop().await, tempfile::tempdir().unwrap());
    let bought = join_all((0..12).map(|_| buy(&shop, budget(folder.path())))).await;
    assert_eq!(bought.iter().filter(|answer| answer.is_ok()).count(), 3);
    for refused in bought.into_iter().filter_map(Result::err) {
        let PayError::Refused(Refusal::Exhausted { left, .. }) = refused else { panic!("{refused}") };
        assert_eq!(left, "0.05".parse().unwrap());
    }
    assert_eq!(budget(folder.path()).spent().unwrap(), "0.3".parse().unwrap());
}

#[tokio::test]
async fn hosts_and_tokens_have_their_own_limits() {
    let (shop, folder) = (shop().await, tempfile::tempdir().unwrap());
    let mut same_shop = shop.clone();
    same_shop.set_host(Some("localhost")).unwrap();
    let per_host = || budget(folder.path()).max_per_host("0.10".parse().unwrap());
    buy(&shop, per_host()).await.unwrap();
    assert!(matches!(buy(&shop, per_host()).await, Err(PayError::Refused(Refusal::Exhausted { .. }))));
    buy(&same_shop, per_host()).await.unwrap();
    let per_asset = budget(folder.path()).max_per_asset("0.20".parse().unwrap());
    assert!(matches!(buy(&shop, per_asset).await, Err(PayError::Refused(Refusal::Exhausted { .. }))));
}

#[tokio::test]
async fn a_new_day_begins_anew_and_a_clock_set_back_does_not() {
    let (shop, folder) = (shop().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("spent");
    let spent = json!({ "127.0.0.1": { "eip155:84532/0x036CbD53842c5426634e7929541eC2318f3dCF7e": 350_000 } });
    std::fs::write(&file, json!({ "day": 1, "spent": spent }).to_string()).unwrap();
    buy(&shop, budget(folder.path())).await.unwrap();
    let today: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::write(&file, json!({ "day": today["day"].as_u64().unwrap() + 1, "spent": spent }).to_string()).unwrap();
    assert!(matches!(buy(&shop, budget(folder.path())).await, Err(PayError::Refused(Refusal::Exhausted { .. }))));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_paid() {
    let (shop, folder) = (shop().await, tempfile::tempdir().unwrap());
    // A crash while the file was written leaves the old one, and a new one that counts for nothing.
    std::fs::write(folder.path().join("spent.new"), "{\"da").unwrap();
    buy(&shop, budget(folder.path())).await.unwrap();
    assert_eq!(budget(folder.path()).spent().unwrap(), "0.1".parse().unwrap());

    std::fs::write(folder.path().join("spent"), "{\"da").unwrap();
    let refused = buy(&shop, budget(folder.path())).await;
    assert!(matches!(refused, Err(PayError::Budget(BudgetError::Malformed { .. }))), "{refused:?}");
    let refused = buy(&shop, budget(&folder.path().join("missing"))).await;
    assert!(matches!(refused, Err(PayError::Budget(BudgetError::Io { .. }))), "{refused:?}");
}

#[tokio::test]
async fn what_was_not_signed_is_given_back() {
    use x402::client::{Client, Payer, PayerError, SignedAuthorization, TransferRequest};
    struct Unwilling;
    impl Payer for Unwilling {
        fn address(&self) -> alloy::primitives::Address {
            crate::support::SELLER
        }

        async fn authorize(&self, _: &TransferRequest) -> Result<SignedAuthorization, PayerError> {
            Err(PayerError::Refused("not today".into()))
        }
    }
    let (shop, folder) = (shop().await, tempfile::tempdir().unwrap());
    let client = Client::new(Unwilling, Policy::default().daily(budget(folder.path()))).unwrap();
    assert!(matches!(client.get(shop).await, Err(PayError::Payer(_))));
    while !budget(folder.path()).spent().unwrap().is_zero() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
