//! `florin treasury`, as owners and spenders use it.

use alloy::providers::Provider;
use axum::http::StatusCode;

use crate::cli::Desk;

const OWNERS: [usize; 3] = [1, 2, 3];
const GUARDIAN: usize = 4;
const SPENDER: usize = 5;
const SUPPLIER: usize = 6;
const RELAYER: usize = 7;

/// A treasury of three owners of whom two decide, with 10,000 USDC and a spender.
async fn founded(desk: &Desk) -> String {
    let owners = OWNERS.map(|owner| desk.who(owner));
    let spender = format!("{}:daily=100,order=60,alone=50", desk.who(SPENDER));
    let mut create = vec!["treasury", "create", "--threshold", "2", "--policy", "owners:daily=5000", "--policy", &spender];
    owners.iter().for_each(|owner| create.extend(["--owner", owner]));
    let guardian = desk.who(GUARDIAN);
    create.extend(["--guardian", &guardian]);
    let treasury = desk.json(RELAYER, &create)["treasury"].as_str().expect("it is created").to_owned();
    desk.mint(&treasury, 10_000).await;
    treasury
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_owners_pay_one_by_transaction_and_one_offline() {
    let desk = Desk::open().await;
    let treasury = founded(&desk).await;
    let (named, supplier) = (["--treasury", treasury.as_str()], desk.who(SUPPLIER));
    let in_treasury = |args: &[&'static str]| [&["treasury"], args, &named].concat();
    let before = desk.chain.balance(supplier.parse().unwrap()).await.unwrap();

    let order = ["pay", "--amount", "250.50", "--reference", "invoice 17", "--to"];
    let order = [&["treasury"], &order[..], &[supplier.as_str()], &named].concat();
    let proposed = desk.json(OWNERS[0], &order);
    assert_eq!(proposed["events"][0]["event"], "OrderProposed", "{proposed}");
    let id = proposed["events"][0]["arguments"]["id"].as_str().unwrap().to_owned();

    let with_id = |args: &[&'static str]| [&in_treasury(args), &[id.as_str()][..]].concat();
    assert!(desk.run(OWNERS[0], &with_id(&["approve"])).contains("approved"));
    let early = desk.refused(RELAYER, &with_id(&["execute"]));
    assert!(early.contains("1 of the 2 owners who must approve did"), "{early}");

    desk.run(RELAYER, &[&in_treasury(&["show", "--out", "order.json", "--order"])[..5], &[&id], &named[..]].concat());
    desk.run_offline(OWNERS[2], &["treasury", "sign", "order.json", "--out", "carol.sig"]);
    desk.run_offline(SUPPLIER, &["treasury", "sign", "order.json", "--out", "mallory.sig"]);
    let forged = desk.refused(RELAYER, &["treasury", "execute", "order.json", "--signature", "mallory.sig"]);
    assert!(forged.contains("mallory.sig is no owner's signature"), "{forged}");
    let shown = desk.run(RELAYER, &in_treasury(&["show"]));
    for expected in
        ["2 of 3 owners decide", "1 orders and changes wait", "250.50 USDC to", "reference invoice 17", "5000.00 USDC a day"]
    {
        assert!(shown.contains(expected), "{expected:?} not in:\n{shown}");
    }

    let execute = ["treasury", "execute", "order.json", "--signature", "carol.sig"];
    let tried = desk.run(RELAYER, &[&execute[..], &["--dry-run"]].concat());
    assert!(tried.contains("nothing is sent") && tried.contains("250.50 USDC to"), "{tried}");
    assert_eq!(desk.balance(&treasury).await, "10000.00", "a dry run moves nothing");
    let executed = desk.run(RELAYER, &execute);
    assert!(executed.contains("250.50 USDC to") && executed.contains("transaction 0x"), "{executed}");
    let after = desk.chain.balance(supplier.parse().unwrap()).await.unwrap();
    assert_eq!(after.checked_sub(before).unwrap().to_string(), "250.50");
    assert!(desk.refused(RELAYER, &execute).contains("it was executed or cancelled before"));
    assert!(desk.run(RELAYER, &in_treasury(&["show"])).contains("0 orders and changes wait"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spender_pays_alone_within_its_tier_and_is_told_what_it_may_not() {
    let desk = Desk::open().await;
    let treasury = founded(&desk).await;
    let supplier = desk.who(SUPPLIER);
    let pay = |amount: &'static str| ["treasury", "pay", "--treasury", &treasury, "--to", &supplier, "--amount", amount];
    assert!(desk.run(SPENDER, &pay("20")).contains("20.00 USDC to"));
    assert!(desk.run(SPENDER, &pay("40")).contains("waits for the owners"), "60 in a day are above the tier of 50");
    let refused = desk.refused(SPENDER, &pay("61"));
    assert!(refused.contains("61.00 USDC is more than the 60.00 USDC that one order may move"), "{refused}");

    desk.write("payroll.csv", &format!("address,amount,reference\n{supplier},10,june\n{},12.25,june\n", desk.who(RELAYER)));
    let batch = desk.run(SPENDER, &["treasury", "batch", "payroll.csv", "--treasury", &treasury]);
    assert!(batch.contains("12.25 USDC to") && batch.contains("reference june"), "{batch}");
    assert_eq!(desk.balance(&treasury).await, "9957.75");

    let spender = desk.who(SPENDER);
    let lower = |daily: &'static str| ["treasury", "policy", "lower", &spender, "--daily", daily, "--treasury", &treasury];
    assert!(desk.refused(GUARDIAN, &lower("1000")).contains("raising takes a change of the owners"));
    assert!(desk.run(GUARDIAN, &lower("42.25")).contains("dailyLimit 42.25 USDC"));
    let pause = ["treasury", "pause", "--treasury", &treasury];
    let guardian = desk.who(GUARDIAN);
    let elsewhere = [&pause[..], &["--from", &guardian]].concat();
    assert!(desk.refused(SPENDER, &elsewhere).contains("add --dry-run or --calldata"));
    assert!(desk.run(SPENDER, &[&elsewhere[..], &["--dry-run"]].concat()).contains("nothing is sent"));
    desk.write("florin.toml", &format!("[treasury]\ntreasury = \"{treasury}\"\n"));
    assert!(desk.run(GUARDIAN, &["treasury", "pause"]).contains("paused"), "the file names the treasury");
    assert!(desk.refused(SPENDER, &pay("0.01")).contains("the treasury is paused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_repeated_with_its_number_and_paid_once() {
    let desk = Desk::open().await;
    let treasury = founded(&desk).await;
    let (supplier, lossy) = (desk.who(SUPPLIER), careless(desk.chain.rpc_url().clone(), false).await);
    let pay = ["treasury", "pay", "--treasury", &treasury, "--to", &supplier, "--amount", "20"];
    let lost = desk.refused(SPENDER, &[&pay[..], &["--rpc-url", &lossy]].concat());
    let after = |mark: &str| lost.split(mark).nth(1).and_then(|rest| rest.split_whitespace().next()).expect(mark).to_owned();
    let hash = after("sending transaction ");
    assert!(lost.contains(&format!("transaction {hash} may have been sent: look for it before you repeat")), "{lost}");
    let mined = desk.chain.provider().get_transaction_receipt(hash.parse().unwrap()).await.unwrap();
    assert!(mined.is_some_and(|receipt| receipt.status()), "it was sent indeed");
    let again = desk.refused(SPENDER, &[&pay[..], &["--nonce", &after("repeat with --nonce ").replace(',', "")]].concat());
    assert!(again.contains("it was executed or cancelled before"), "{again}");
    assert_eq!(desk.balance(&treasury).await, "9980.00");

    let twice = careless(desk.chain.rpc_url().clone(), true).await;
    let lost = desk.refused(SPENDER, &[&pay[..], &["--rpc-url", &twice]].concat());
    assert!(lost.to_lowercase().contains("nonce too low") && lost.contains("may have been sent: look for it"), "{lost}");
    assert_eq!(desk.balance(&treasury).await, "9960.00", "it was sent indeed");
}

/// A node that takes transactions, and whose answer to them never arrives; or one that sends them twice and passes on the second answer.
async fn careless(node: url::Url, twice: bool) -> String {
    let pass_on = move |request: String| {
        let node = node.clone();
        async move {
            let sends = request.contains("eth_sendRawTransaction");
            let json = [("content-type", "application/json")];
            let send = async || {
                let sent = reqwest::Client::new().post(node.clone()).header(json[0].0, json[0].1).body(request.clone());
                sent.send().await.unwrap().text().await.unwrap()
            };
            let answer = send().await;
            match (sends, twice) {
                (true, true) => (StatusCode::OK, json, send().await),
                (true, false) => (StatusCode::GATEWAY_TIMEOUT, json, String::new()),
                (false, _) => (StatusCode::OK, json, answer),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(pass_on)).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_an_address_without_a_contract() {
    let desk = Desk::open().await;
    let mut elsewhere = desk.chain.deployment().clone();
    elsewhere.payment_router = desk.who(SUPPLIER).parse().unwrap();
    elsewhere.save(&desk.path("deployment.json")).unwrap();
    let said = desk.refused(SPENDER, &["router", "pay", "--to", &desk.who(RELAYER), "--amount", "1"]);
    assert!(said.contains("there is no contract at") && !said.contains("sending"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_owners_waits_for_its_timelock() {
    let desk = Desk::open().await;
    let treasury = founded(&desk).await;
    let newcomer = desk.who(RELAYER);
    let said = desk.run(RELAYER, &["treasury", "change", "add-owner", &newcomer, "--threshold", "3", "--treasury", &treasury]);
    assert!(said.contains("adds the owner") && said.contains("then 3 owners decide"), "{said}");
    for owner in [OWNERS[0], OWNERS[1]] {
        desk.run_offline(owner, &["treasury", "sign", "change.json", "--out", &format!("{owner}.sig")]);
    }
    desk.run(RELAYER, &["treasury", "schedule", "change.json", "--signature", "1.sig", "--signature", "2.sig"]);
    let execute = ["treasury", "execute", "change.json"];
    assert!(desk.refused(RELAYER, &execute).contains("the change can be executed from 20"));
    desk.wait(86_400).await;
    assert!(desk.run(RELAYER, &execute).contains("3 owners decide"));
    assert!(desk.run(RELAYER, &["treasury", "show", "--treasury", &treasury]).contains("3 of 4 owners decide"));
}
