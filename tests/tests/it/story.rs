use alloy::providers::Provider;
use stack::{Stack, story};

#[tokio::test(flavor = "multi_thread")]
async fn a_treasury_funds_an_agent_that_buys_by_x402_and_escrow_within_its_limits() {
    let stack = Stack::for_test().await.unwrap();
    let report = story::play(&stack, &mut ()).await.unwrap();

    let paid = |payer, payee| report.steps.iter().find(|step| (step.payer, step.payee) == (Some(payer), Some(payee))).unwrap();
    let small = paid("agent's wallet", "seller");
    let receipt = stack.provider().get_transaction_receipt(small.transaction.unwrap()).await.unwrap().unwrap();
    let facilitator = stack.account(stack::Account::FACILITATOR).address;
    assert_eq!(receipt.from, facilitator, "the facilitator settles, the wallet makes no transaction");

    let balance = |name| report.reconciliation.accounts.iter().find(|(who, ..)| *who == name).unwrap().1.to_string();
    assert_eq!(
        balance("agent's wallet"),
        "74.90",
        "100 funded, 0.05 by x402, 25 by escrow, 0.05 from what it deposited, 40 refused"
    );
    assert_eq!(balance("market's custody"), "0.05", "1 deposited, 0.95 withdrawn");
    assert_eq!(balance("escrow"), "0.00");
    stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_run_side_by_side() {
    let (first, second) = tokio::join!(Stack::for_test(), Stack::for_test());
    let (first, second) = (first.unwrap(), second.unwrap());
    let (mut nobody, mut nobody_else) = ((), ());
    let (one, other) = tokio::join!(story::play(&first, &mut nobody), story::play(&second, &mut nobody_else));
    one.unwrap();
    other.unwrap();
}
