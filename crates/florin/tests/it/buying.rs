//! `florin pay` and its limits, against sellers that count what was signed. Processes are killed in the middle.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use x402::{Network, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, Token, V2, header};

use crate::cli::florin;

/// Payments seen, by path.
#[derive(Clone, Default)]
struct Seller(Arc<Mutex<HashMap<String, HashSet<String>>>>);

impl Seller {
    /// Sells everything for a cent, slowly.
    async fn open(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(get(sell)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn payments(&self) -> usize {
        self.0.lock().unwrap().values().map(HashSet::len).sum()
    }
}

async fn sell(State(seller): State<Seller>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(payment) = headers.get(header::PAYMENT_SIGNATURE) else {
        let token = Token::usdc(&Network::evm(84532)).unwrap();
        let price: money::Usdc = "0.01".parse().unwrap();
        let accepts = vec![PaymentRequirements::exact(&token, price, alloy::primitives::Address::repeat_byte(7), 300)];
        let required =
            PaymentRequired { x402_version: V2, error: None, resource: ResourceInfo::new("x"), accepts, extensions: None };
        return (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(&required).unwrap())]).into_response();
    };
    let payment: PaymentPayload = header::decode(payment.as_bytes()).unwrap();
    let nonce = payment.key().unwrap().nonce.to_string();
    seller.0.lock().unwrap().entry(uri.path().to_owned()).or_default().insert(nonce);
    tokio::time::sleep(Duration::from_millis(30)).await;
    (StatusCode::OK, "sold").into_response()
}

fn pay(url: &str, state: &Path, more: &[&str]) -> Command {
    let mut command = florin(&["pay", url, "--max", "0.05"]);
    command.args(more).env("FLORIN_KEY", "01".repeat(32)).env("FLORIN_STATE", state);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_killed_never_sign_more_than_the_daily_budget_nor_twice_for_one_request() {
    let (seller, folder) = (Seller::default(), tempfile::tempdir().unwrap());
    let (url, budget) = (seller.open().await, ["--daily-budget", "0.05"]);
    // Two at a time, each killed a little later than the one before: before, while and after it pays.
    let mut killed = 0;
    for round in 0..6_u64 {
        let mut children: Vec<_> =
            (0..2).map(|n| pay(&format!("{url}/{round}-{n}"), folder.path(), &budget).spawn().unwrap()).collect();
        tokio::time::sleep(Duration::from_millis(40 + 40 * round)).await;
        for child in &mut children {
            killed += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert!(killed > 0, "the first are killed before they can have paid");
    let after_kills = seller.payments();
    assert!(after_kills <= 5, "{after_kills} cents were signed");
    // Whoever is left buys until the day's budget is used up, and repeats what was cut off.
    let mut refused = 0;
    for round in 0..6 {
        for n in 0..2 {
            let output = pay(&format!("{url}/{round}-{n}"), folder.path(), &budget).output().unwrap();
            let (code, said) = said(&output);
            assert!(code == 0 || code == 3, "{code}: {said}");
            refused += usize::from(code == 3 && said.contains("left of today's budget"));
        }
    }
    assert!(refused > 0 && seller.payments() <= 5, "{} cents were signed, {refused} refused", seller.payments());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_refuse_with_their_own_exit_code_and_nothing_is_signed() {
    let (seller, folder) = (Seller::default(), tempfile::tempdir().unwrap());
    let url = seller.open().await;
    let payee = alloy::primitives::Address::repeat_byte(7).to_string();
    for (limits, why) in [
        (&["--max", "0.001"][..], "most one payment may cost"),
        (&["--allow-host", "api.example,*.example"], "127.0.0.1 may not be paid"),
        (&["--deny-host", "127.0.0.1"], "127.0.0.1 may not be paid"),
        (&["--deny-payee", &payee], "may not be paid"),
        (&["--allow-network", "eip155:8453"], "payments on eip155:84532 are not allowed"),
        (&["--daily-budget", "0.009"], "left of today's budget"),
        (&["--approve-above", "0", "--approve-timeout", "1s"], "needs approval"),
    ] {
        let mut command = florin(&["pay", &url]);
        if limits[0] != "--max" {
            command.args(["--max", "0.05"]);
        }
        command.args(limits).env("FLORIN_KEY", "01".repeat(32)).env("FLORIN_STATE", folder.path()).stdin(Stdio::null());
        let (code, said) = said(&command.output().unwrap());
        assert!(code == 3 && said.contains(why), "{limits:?}: {code} {said}");
    }
    assert_eq!(seller.payments(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_the_limits_say_and_receipts_are_kept() {
    let (seller, folder) = (Seller::default(), tempfile::tempdir().unwrap());
    let url = format!("{}/report", seller.open().await);
    let dry = pay(&url, folder.path(), &["--dry-run", "--approve-above", "0.001"]).output().unwrap();
    let shown = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(dry.status.success() && shown.contains("0.01") && shown.contains("you would be asked"), "{shown}");
    let refused = pay(&url, folder.path(), &["--dry-run", "--deny-host", "*"]).output().unwrap();
    assert_eq!((refused.status.code(), seller.payments()), (Some(3), 0));

    let file = folder.path().join("receipt.json");
    let bought = pay(&url, folder.path(), &["--receipt", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bought.stdout), "sold", "{bought:?}");
    let receipt: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(receipt["requirement"]["amount"], "10000");
    let kept = florin(&["pay", "receipts", "--json"]).env("FLORIN_STATE", folder.path()).output().unwrap();
    let kept: Value = serde_json::from_slice(&kept.stdout).unwrap_or_else(|_| panic!("{kept:?}"));
    assert_eq!(kept["url"], url.as_str());
}

/// A key of all ones under "testpassword", with few rounds so that a test need not wait.
const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
"ciphertext":"5907895ed85d2f5e0ba0464051f92e2c6589d9608793e7c1ab417efa45ab9a8e","kdf":"pbkdf2","kdfparams":{"c":1024,"dklen":32,
"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
"mac":"e92bc215ddae15a218f85d78ff9b12408a46c0defdb700d04d5cc1bdbd101a33"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_keystore_pays_with_the_password_of_a_file() {
    let (seller, folder) = (Seller::default(), tempfile::tempdir().unwrap());
    let url = seller.open().await;
    let (keystore, password) = (folder.path().join("key.json"), folder.path().join("password"));
    std::fs::write(&keystore, KEYSTORE).unwrap();
    let pay = |typed: &str| {
        std::fs::write(&password, typed).unwrap();
        let mut command = florin(&["pay", &url, "--max", "0.05"]);
        command.args([Path::new("--keystore"), &keystore, Path::new("--keystore-password-file"), &password]);
        said(&command.env("FLORIN_STATE", folder.path()).output().unwrap())
    };
    let (code, text) = pay("testpassword\n");
    assert_eq!((code, seller.payments()), (0, 1), "{text}");
    let (code, text) = pay("another");
    assert!(code == 1 && text.contains("wrong password") && !text.contains("another"), "{text}");
}
