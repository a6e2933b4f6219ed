//! `florin escrow`, as buyers, sellers, arbiters and relayers use it.

use crate::cli::Desk;

const BUYER: usize = 1;
const SELLER: usize = 2;
const ARBITER: usize = 3;
const RELAYER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_relayer_opens_for_the_buyer_the_seller_delivers_and_is_paid() {
    let desk = Desk::open().await;
    let seller = desk.who(SELLER);
    let before = desk.chain.balance(seller.parse().unwrap()).await.unwrap();
    let open = ["escrow", "open", "--seller", &seller, "--amount", "50", "--deliver-by", "24h", "--fund", "authorization"];
    desk.write("buyer.sig", &desk.run(BUYER, &open));
    desk.write(
        "terms-of-another.json",
        &std::fs::read_to_string(desk.path("terms.json")).unwrap().replace("50000000", "50000001"),
    );
    let fund = |terms: &'static str| ["escrow", "fund", terms, "--signature", "buyer.sig"];
    assert!(desk.refused(RELAYER, &fund("terms-of-another.json")).contains("is not for these terms"));
    let id = desk.json(RELAYER, &fund("terms.json"))["agreement"].as_str().unwrap().to_owned();

    let shown = desk.run(RELAYER, &["escrow", "show", &id]);
    assert!(shown.contains("funded: 50.00 USDC put in") && shown.contains("the seller delivers before"), "{shown}");
    assert!(desk.refused(RELAYER, &["escrow", "refund", &id]).contains("only the seller can do this now"));
    desk.write("report.txt", "what was ordered");
    assert!(desk.refused(BUYER, &["escrow", "deliver", &id]).contains("is not the seller"));
    let delivered = desk.run(SELLER, &["escrow", "deliver", &id, "--file", "report.txt"]);
    assert!(delivered.contains("the buyer may dispute before"), "{delivered}");
    assert!(desk.refused(RELAYER, &["escrow", "release", &id]).contains("anyone can release from 20"));

    assert!(desk.run(BUYER, &["escrow", "release", &id, "--up-to", "20"]).contains("released 20.00 USDC to the seller"));
    desk.write("release.sig", &desk.run(BUYER, &["escrow", "sign-release", &id, "--total", "45.25"]));
    let signed = ["escrow", "release", &id, "--signed", "release.json", "--signature", "release.sig"];
    assert!(desk.run(SELLER, &signed).contains("released 25.25 USDC to the seller, of it 0.00 USDC fee; 45.25 USDC in all"));
    assert!(desk.refused(SELLER, &signed).contains("45.25 USDC are released already"));
    assert!(desk.run(BUYER, &["escrow", "release", &id]).contains("released 4.75 USDC"));
    assert!(desk.run(BUYER, &["escrow", "show", &id]).contains("released: 50.00 USDC put in, 50.00 released\nit is over"));
    let after = desk.chain.balance(seller.parse().unwrap()).await.unwrap();
    assert_eq!(after.checked_sub(before).unwrap().to_string(), "50.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_ends_by_the_arbiter_or_by_the_default() {
    let desk = Desk::open().await;
    let (seller, arbiter) = (desk.who(SELLER), desk.who(ARBITER));
    let open =
        ["escrow", "open", "--seller", &seller, "--amount", "30", "--arbiter", &arbiter, "--bond", "1", "--arbitration", "24h"];
    let disputed = |how: &'static str| {
        let id = desk.json(BUYER, &[&open[..], &["--fund", how]].concat())["agreement"].as_str().unwrap().to_owned();
        desk.run(SELLER, &["escrow", "deliver", &id]);
        assert!(desk.run(BUYER, &["escrow", "dispute", &id]).contains("disputed with a bond of 1.00 USDC"));
        id
    };
    let (ruled, silent) = (disputed("permit"), disputed("allowance"));
    assert!(desk.refused(BUYER, &["escrow", "resolve", &ruled, "--to-seller", "0"]).contains("is not the arbiter"));
    let resolved = desk.run(ARBITER, &["escrow", "resolve", &ruled, "--to-seller", "10"]);
    assert!(
        resolved.contains("resolved: 10.00 USDC to the seller") && resolved.contains("20.00 USDC to the buyer"),
        "{resolved}"
    );
    let default = ["escrow", "default", &silent];
    assert!(desk.refused(RELAYER, &default).contains("the arbiter may still rule"));
    desk.wait(86_400).await;
    assert!(desk.run(RELAYER, &["escrow", "show", &silent]).contains("anybody can give the rest to the buyer now"));
    assert!(desk.run(RELAYER, &default).contains("30.00 USDC to the buyer"));
    let nothing = desk.refused(BUYER, &["escrow", "release", &silent]);
    assert!(nothing.contains("the agreement is resolved"), "{nothing}");
}
