//! `florin wallet`, as owners, agents and those who relay use it.

use crate::cli::Desk;

const OWNER: usize = 1;
const GUARDIAN: usize = 2;
const AGENT: usize = 3;
const SELLER: usize = 4;
const RELAYER: usize = 5;
const NEW_OWNER: usize = 6;

/// A wallet with 1,000 USDC, whose agent pays 20 at a time, 50 a day, and 30 of them without the owner.
async fn created(desk: &Desk) -> String {
    let (agent, guardian) = (desk.who(AGENT), desk.who(GUARDIAN));
    let create = ["wallet", "create", "--operator", &agent, "--guardian", &guardian, "--daily", "50", "--payment-max", "20"];
    let create = [&create[..], &["--approval-above", "30", "--lane-payment-max", "0.10"]].concat();
    let predicted = desk.json(OWNER, &[&create[..], &["--dry-run"]].concat());
    let wallet = desk.json(OWNER, &create);
    assert_eq!(predicted, wallet, "the dry run tells the address");
    let wallet = wallet["wallet"].as_str().expect("it is created").to_owned();
    desk.mint(&wallet, 1_000).await;
    wallet
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_pays_within_its_limits_and_is_told_why_not_beyond() {
    let desk = Desk::open().await;
    let wallet = created(&desk).await;
    let (seller, agent) = (desk.who(SELLER), desk.who(AGENT));
    let pay = |amount: &'static str, id: &'static str| {
        ["wallet", "pay", "--wallet", &wallet, "--to", &seller, "--amount", amount, "--id", id]
    };
    assert!(desk.run(AGENT, &pay("15.50", "order 1")).contains("paid 15.50 USDC to"));
    let again = desk.refused(AGENT, &pay("15.50", "order 1"));
    assert!(again.contains("the payment order 1 was made before; it is not made twice"), "{again}");
    let large = desk.refused(AGENT, &pay("20.01", "order 2"));
    assert!(large.contains("20.01 USDC is more than the 20.00 USDC that one payment may carry"), "{large}");
    let tier = desk.refused(AGENT, &pay("14.60", "order 2"));
    assert!(tier.contains("30.10 USDC leave in 24 hours and above 30.00 USDC others must approve"), "{tier}");
    let stranger = desk.refused(RELAYER, &pay("1", "order 2"));
    assert!(stranger.contains("is no operator: the owner adds it with `florin wallet operator add`"), "{stranger}");

    let shown = desk.run(RELAYER, &["wallet", "show", "--wallet", &wallet]);
    for expected in
        ["balance 984.50 USDC", "left now 34.50 USDC", "100 payments of 0.10 USDC every 1h", "50.00 USDC a day, 20.00 a payment"]
    {
        assert!(shown.contains(expected), "{expected:?} not in:\n{shown}");
    }

    assert!(desk.run(GUARDIAN, &["wallet", "freeze", "--all", "--wallet", &wallet]).contains("is frozen and pays nothing"));
    let frozen = desk.refused(AGENT, &pay("1", "order 2"));
    assert!(frozen.contains("is frozen: the owner unfreezes it with `florin wallet unfreeze`"), "{frozen}");
    let guardian = desk.refused(GUARDIAN, &["wallet", "unfreeze", &agent, "--wallet", &wallet]);
    assert!(guardian.contains("is not the owner"), "{guardian}");
    desk.run(OWNER, &["wallet", "unfreeze", &agent, "--wallet", &wallet]);
    assert!(desk.run(AGENT, &pay("1", "order 2")).contains("paid 1.00 USDC"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_above_the_tier_is_approved_offline_and_relayed_by_anybody() {
    let desk = Desk::open().await;
    let wallet = created(&desk).await;
    let (seller, agent) = (desk.who(SELLER), desk.who(AGENT));
    for id in ["a", "b"] {
        let ordered = ["wallet", "sign-payment", "--wallet", &wallet, "--to", &seller, "--amount", "20", "--id", id];
        let file = format!("{id}.json");
        desk.write(&format!("{id}.sig"), &desk.run(AGENT, &[&ordered[..], &["--out", &file]].concat()));
    }
    let within = desk.run(RELAYER, &["wallet", "relay", "a.json", "--signature", "a.sig"]);
    assert!(within.contains("paid 20.00 USDC"), "within the tier nobody else is asked: {within}");
    let above = ["wallet", "relay", "b.json", "--signature", "b.sig"];
    assert!(desk.refused(RELAYER, &above).contains("others must approve"));
    desk.run_offline(SELLER, &["wallet", "approve", "b.json", "--out", "mallory.sig"]);
    let forged = desk.refused(RELAYER, &[&above[..], &["--signature", "mallory.sig"]].concat());
    assert!(forged.contains("is neither owner nor approver"), "{forged}");
    desk.run_offline(OWNER, &["wallet", "approve", "b.json", "--out", "owner.sig"]);
    let approved = [&above[..], &["--signature", "owner.sig"]].concat();
    desk.run(OWNER, &["wallet", "void", &agent, "--wallet", &wallet]);
    let void = desk.refused(RELAYER, &approved);
    assert!(void.contains("what was signed is void"), "{void}");

    let ordered =
        ["wallet", "sign-payment", "--wallet", &wallet, "--to", &seller, "--amount", "20", "--id", "b", "--out", "b.json"];
    desk.write("b.sig", &desk.run(AGENT, &ordered));
    desk.run_offline(OWNER, &["wallet", "approve", "b.json", "--out", "owner.sig"]);
    assert!(desk.run(RELAYER, &approved).contains("paid 20.00 USDC"));
    assert_eq!(desk.balance(&wallet).await, "960.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_rearranges_operators_and_hands_the_wallet_over() {
    let desk = Desk::open().await;
    let wallet = created(&desk).await;
    let (agent, second, new_owner, seller) = (desk.who(AGENT), desk.who(RELAYER), desk.who(NEW_OWNER), desk.who(SELLER));
    let by = |account: usize, args: &[&str]| desk.run(account, &[&["wallet"], args, &["--wallet", &wallet]].concat());
    by(OWNER, &["operator", "add", &second, "--daily", "5", "--only", &seller]);
    by(OWNER, &["operator", "set-policy", &agent, "--only-allowed", "--expires", "24h"]);
    by(OWNER, &["operator", "set-lane", &agent, "--lane-payments", "3"]);
    let shown = by(OWNER, &["show"]);
    for kept in ["50.00 USDC a day, 20.00 a payment, approval above 30.00 a day", "3 payments of 0.10 USDC every 1h"] {
        assert!(shown.contains(kept), "what was not named stays: {kept:?} not in:\n{shown}");
    }
    by(OWNER, &["operator", "set-policy", &agent, "--daily", "7"]);
    by(OWNER, &["operator", "set-lane", &agent, "--expires", "1h"]);
    let lane = by(OWNER, &["show"]);
    assert!(lane.contains("what it pays otherwise, until 20"), "the end of the lane:\n{lane}");
    desk.wait(2 * 3_600).await;
    let over = ["wallet", "operator", "set-lane", &agent, "--lane-payments", "5", "--wallet", &wallet];
    assert!(desk.refused(OWNER, &over).contains("it ended at 20"), "what is over is not renewed by anything but a new end");
    by(OWNER, &["operator", "close-lane", &agent]);
    let shown = by(OWNER, &["show"]);
    for expected in ["7.00 USDC a day", "5.00 USDC a day", "to its allowlist only", &format!("may pay {seller}")] {
        assert!(shown.contains(expected), "{expected:?} not in:\n{shown}");
    }
    assert!(!shown.contains("x402"), "the lane is closed:\n{shown}");
    let elsewhere = ["wallet", "pay", "--to", &new_owner, "--amount", "1", "--wallet", &wallet];
    assert!(desk.refused(RELAYER, &elsewhere).contains("may not be paid"));
    assert!(by(OWNER, &["operator", "remove", &second]).contains("is no operator any more"));

    by(OWNER, &["transfer-ownership", &new_owner]);
    by(NEW_OWNER, &["accept-ownership"]);
    let withdraw = ["wallet", "withdraw", "--to", &new_owner, "--amount", "12.50", "--wallet", &wallet];
    assert!(desk.refused(OWNER, &withdraw).contains("is not the owner"));
    assert!(desk.run(NEW_OWNER, &withdraw).contains("withdrew 12.50 USDC"));

    by(GUARDIAN, &["recover", "start", &desk.who(OWNER)]);
    assert!(desk.refused(OWNER, &["wallet", "recover", "finish", "--wallet", &wallet]).contains("can be finished from 20"));
    desk.wait(7 * 86_400).await;
    assert!(by(OWNER, &["recover", "finish"]).contains("owns the wallet now"));
}
