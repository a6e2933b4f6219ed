//! `florin router`, `subscription`, `registry` and `anchor`, as people use them.

use alloy::{primitives::U256, providers::ext::AnvilApi};

use crate::cli::Desk;

const PAYER: usize = 1;
const SELLER: usize = 2;
const OTHER: usize = 3;
const ARBITER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn the_router_pays_one_many_and_in_shares() {
    let desk = Desk::open().await;
    let (seller, other) = (desk.who(SELLER), desk.who(OTHER));
    let pay = ["router", "pay", "--to", &seller, "--amount", "12.50", "--id", "order 1"];
    assert!(desk.run(PAYER, &pay).contains("12.50 USDC to"));
    let again = desk.refused(PAYER, &pay);
    assert!(again.contains("was made before; it is not made twice"), "{again}");
    assert!(!again.contains("sending transaction"), "nothing is allowed for it: {again}");

    desk.write("batch.csv", &format!("address,amount\n{seller},1.25\n{other},2\n"));
    let batch = ["router", "batch", "batch.csv", "--reference", "june"];
    let calldata = desk.run(PAYER, &[&batch[..], &["--calldata"]].concat());
    assert!(calldata.starts_with("0x") && calldata.trim().len() > 10, "{calldata}");
    assert!(desk.run(PAYER, &batch).contains("3.25 USDC paid, reference june"));
    let share = |who: &str, bps: u16| format!("{who}={bps}");
    let (first, second) = (share(&seller, 9_000), share(&other, 999));
    let split = ["router", "split", "--amount", "10", "--share", &first, "--share", &second];
    assert!(desk.refused(PAYER, &split).contains("9999 basis points together and must be 10000"));
    let second = share(&other, 1_000);
    let split = ["router", "split", "--amount", "10", "--share", &first, "--share", &second];
    assert!(desk.run(PAYER, &split).contains("10.00 USDC split"));
    assert_eq!(desk.balance(&seller).await, "1000022.75");
    assert_eq!(desk.balance(&other).await, "1000003.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_charged_once_a_period_until_it_is_cancelled() {
    let desk = Desk::open().await;
    let seller = desk.who(SELLER);
    let create = ["subscription", "create", "--payee", &seller, "--price", "10", "--period", "30d", "--total-max", "25"];
    let id = desk.json(PAYER, &create)["subscription"].as_str().unwrap().to_owned();
    assert_eq!(desk.balance(&seller).await, "1000010.00", "the first period is paid at once");
    desk.write("batch.csv", &format!("address,amount\n{seller},1\n"));
    desk.run(PAYER, &["router", "pay", "--to", &seller, "--amount", "2"]);
    desk.run(PAYER, &["router", "batch", "batch.csv"]);
    let charge = ["subscription", "charge", &id];
    assert!(desk.refused(OTHER, &charge).contains("nothing is due before 20"));
    desk.wait(30 * 86_400).await;
    assert!(desk.run(OTHER, &["subscription", "show", &id]).contains("1 periods are due, 10.00 USDC"));
    let charged = desk.run(OTHER, &charge);
    assert!(charged.contains("charged 10.00 USDC to"), "other payments leave what it is allowed to take: {charged}");
    desk.wait(30 * 86_400).await;
    assert!(desk.refused(OTHER, &charge).contains("at most 25.00 USDC may be charged"));
    assert!(desk.refused(OTHER, &["subscription", "cancel", &id]).contains("is neither the payer"));
    assert!(desk.run(PAYER, &["subscription", "cancel", &id]).contains("is cancelled"));
    assert!(desk.run(OTHER, &["subscription", "show", &id]).contains("it is over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_registered_bonded_rated_and_slashed() {
    let desk = Desk::open().await;
    let (seller, arbiter) = (desk.who(SELLER), desk.who(ARBITER));
    let register = ["registry", "register", "--endpoint", "https://api.example/quote", "--price", "0.01", "--name", "quotes"];
    let register = [&register[..], &["--arbiter", &arbiter]].concat();
    let service = desk.json(SELLER, &register)["service"].as_str().unwrap().to_owned();
    assert!(desk.refused(SELLER, &register).contains("choose another --name"));
    assert!(desk.run(OTHER, &["registry", "stake", &service, "--amount", "100"]).contains("the stake is 100.00 USDC"));
    assert!(desk.run(SELLER, &["registry", "unbond", &service, "--amount", "40"]).contains("40.00 USDC can be withdrawn from"));
    let early = desk.refused(SELLER, &["registry", "withdraw-stake", &service, "--to", &seller]);
    assert!(early.contains("it can be withdrawn from 20"), "{early}");

    let open = ["escrow", "open", "--seller", &seller, "--amount", "30", "--arbiter", &arbiter];
    let id = desk.json(PAYER, &open)["agreement"].as_str().unwrap().to_owned();
    let rate = ["registry", "rate", &service, "--score", "20", "--agreement", &id];
    desk.refused(PAYER, &rate);
    desk.run(SELLER, &["escrow", "deliver", &id]);
    desk.run(PAYER, &["escrow", "dispute", &id]);
    desk.run(ARBITER, &["escrow", "resolve", &id, "--to-seller", "10"]);
    assert!(desk.run(PAYER, &rate).contains("rated 20 of 100"));
    assert!(desk.refused(PAYER, &rate).contains("this payment was rated before"));
    let slashed = desk.run(ARBITER, &["registry", "slash", &service, "--agreement", &id, "--amount", "5"]);
    assert!(slashed.contains("slashed 5.00 USDC, paid to the buyer"), "{slashed}");
    let shown = desk.run(OTHER, &["registry", "show", &service]);
    for expected in ["https://api.example/quote", "0.01 USDC a call", "score 20 of 100 from 1 payments", "1 of them disputed"] {
        assert!(shown.contains(expected), "{expected:?} not in:\n{shown}");
    }
    assert_eq!(desk.json(OTHER, &["registry", "list"])["services"][0]["score"], 20);
    desk.run(SELLER, &["registry", "retire", &service]);
    assert!(desk.run(OTHER, &["registry", "list"]).contains("no service is offered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_an_anchored_batch_is_proved_and_no_other() {
    let desk = Desk::open().await;
    let operator = desk.who(SELLER);
    // No power of two, so that some lines have a shorter proof than others.
    let lines: Vec<String> = (1..=7).map(|entry| format!("{{\"entry\":{entry}}}")).collect();
    desk.write("batch.jsonl", &(lines.join("\n") + "\n"));
    assert!(desk.run(SELLER, &["anchor", "append", "batch.jsonl"]).contains("batch 1 with 7 entries anchored"));
    let verify = |file: &'static str, line: &str| {
        ["anchor", "verify", file, "--line", line, "--operator", &operator, "--sequence", "1"].map(str::to_owned)
    };
    for line in 1..=7 {
        let verify = verify("batch.jsonl", &line.to_string());
        let verify = verify.each_ref().map(String::as_str);
        assert!(desk.run(PAYER, &verify).contains("is anchored in batch 1"), "line {line}");
    }
    desk.write("altered.jsonl", &(lines.join("\n").replace(":3}", ":4}") + "\n"));
    let altered = verify("altered.jsonl", "7");
    let refused = desk.refused(PAYER, &altered.each_ref().map(String::as_str));
    assert!(refused.contains("something was altered, added or left out"), "{refused}");
    let repeated = desk.refused(SELLER, &["anchor", "append", "batch.jsonl", "--sequence", "1"]);
    assert!(repeated.contains("the next batch is 2 and not 1"), "{repeated}");
    assert!(desk.run(PAYER, &["anchor", "show", &operator]).contains("anchored 1 batches with 7 entries in all"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deploying_again_moves_no_start_block_and_replaces_no_file_it_cannot_read() {
    let desk = Desk::open().await;
    let deploy = |more: &[&'static str]| [&["deploy", "--chain-id", "84532", "--deployment"], more].concat();
    let lost = desk.refused(PAYER, &deploy(&["lost.json"]));
    assert!(lost.contains("are on chain 84532 already") && lost.contains("--start-block"), "{lost}");
    desk.run(PAYER, &deploy(&["lost.json", "--start-block", "7"]));
    desk.run(PAYER, &deploy(&["lost.json"]));
    let written = std::fs::read_to_string(desk.path("lost.json")).unwrap();
    assert!(written.contains("\"start_block\": 7,"), "{written}");
    // A chain whose USDC is another has other addresses; who has no coin cannot deploy to them.
    let another = ["--usdc", "0x00000000000000000000000000000000000000ff"];
    desk.chain.provider().anvil_set_balance(desk.who(OTHER).parse().unwrap(), U256::ZERO).await.unwrap();
    desk.refused(OTHER, &[&deploy(&["lost.json"]), &another[..]].concat());
    assert_eq!(std::fs::read_to_string(desk.path("lost.json")).unwrap(), written, "what failed replaces nothing that works");
    desk.write("damaged.json", "{");
    assert!(desk.refused(PAYER, &deploy(&["damaged.json"])).contains("mend the file"));
    assert_eq!(std::fs::read_to_string(desk.path("damaged.json")).unwrap(), "{");
}
