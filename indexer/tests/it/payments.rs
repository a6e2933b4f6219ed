//! Everything that is paid, whichever way, is in one list once, and in the sums.

use alloy::{
    network::TransactionBuilder,
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U40, U56, U96},
    },
    providers::ext::AnvilApi,
    rpc::types::{
        TransactionReceipt, TransactionRequest,
        anvil::{ReorgOptions, TransactionData},
    },
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolEvent},
};
use contracts::{
    Deployment,
    agent_wallet::AgentWallet::executePaymentCall,
    agent_wallet_factory::{
        AgentWalletFactory::{WalletCreated, createWalletCall},
        IAgentWallet as Config,
    },
    multicall3::Multicall3::aggregate3Call,
    payment_router::{
        IPaymentRouter::{Leg, Share},
        PaymentRouter::{batchPayCall, payCall, splitPayCall},
    },
    signing::{
        treasury::top_up_authorization,
        usdc::{CancelAuthorization, TransferWithAuthorization, cancel, transfer as authorized},
    },
    treasury::{
        ITreasury,
        Treasury::{topUpCall, withdrawApprovalCall},
    },
    usdc::Usdc::{approveCall, cancelAuthorization_1Call, transferWithAuthorization_0Call},
    x402_exact_permit2_proxy::{
        ISignatureTransfer::{PermitTransferFrom, TokenPermissions},
        X402ExactPermit2Proxy::{Witness, settleCall},
    },
};
use serde_json::Value;

use crate::{
    harness::{Chain, Indexer, assert_as_from_scratch, database, pool, synced, transfer},
    story::create_treasury,
};

/// Of the first account of the dev chain.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PAYER: usize = 0;

async fn call(chain: &Chain, from: usize, to: Address, call: impl SolCall) -> TransactionReceipt {
    let tx = TransactionRequest::default().with_from(chain.accounts[from]).with_to(to).with_input(call.abi_encode());
    chain.send(tx).await
}

/// A payment as x402 settles it: anybody carries out what the payer signed.
pub(crate) async fn pay_by_x402(chain: &Chain, to: usize, amount: u64, nonce: B256) {
    call(chain, 8, chain.deployment.usdc, authorization(chain, chain.accounts[to], amount, nonce)).await;
}

fn authorization(chain: &Chain, to: Address, amount: u64, nonce: B256) -> transferWithAuthorization_0Call {
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    assert_eq!(signer.address(), chain.accounts[PAYER]);
    let (from, value) = (signer.address(), U256::from(amount));
    let message = TransferWithAuthorization { from, to, value, validAfter: U256::ZERO, validBefore: U256::MAX, nonce };
    let signed = authorized(message, chain.deployment.usdc, chain.deployment.chain_id).sign(&signer).unwrap();
    transferWithAuthorization_0Call {
        from,
        to,
        value,
        validAfter: U256::ZERO,
        validBefore: U256::MAX,
        nonce,
        signature: Bytes::from(signed.as_bytes().to_vec()),
    }
}

async fn pay_by_wallet(chain: &Chain, to: usize, amount: u64, payment_id: B256) -> Address {
    let usdc = chain.deployment.usdc;
    let policy = Config::Policy {
        paymentMax: U56::from(50_000_000),
        dailyLimit: U56::from(100_000_000),
        approvalAbove: U56::from(100_000_000),
        expiresAt: U40::from(99_999_999_999_u64),
        onlyAllowed: false,
    };
    let operator = Config::OperatorConfig {
        operator: chain.accounts[1],
        policies: vec![Config::TokenPolicy { token: usdc, policy }],
        recipients: vec![],
        lane: Default::default(),
    };
    let (owner, guardian) = (chain.accounts[PAYER], Address::ZERO);
    let operators = vec![operator];
    let config = Config::WalletConfig { owner, guardian, approvers: vec![], approvalsRequired: 0, operators, salt: B256::ZERO };
    let created = call(chain, PAYER, chain.deployment.agent_wallet_factory, createWalletCall { config }).await;
    let wallet = created.logs().iter().find_map(|log| WalletCreated::decode_log(&log.inner).ok()).unwrap().wallet;
    chain.call(chain.accounts[PAYER], transfer(wallet, amount)).await;
    let payment = executePaymentCall { token: usdc, to: chain.accounts[to], amount: U256::from(amount), paymentId: payment_id };
    call(chain, 1, wallet, payment).await;
    wallet
}

async fn list(indexer: &Indexer, query: &str) -> Vec<Value> {
    let (status, page) = indexer.get(&format!("/api/v1/chain/payments?order=asc&{query}")).await;
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

fn told(payment: &Value) -> (&str, Address, u64, u64) {
    let text = |name: &str| payment[name].as_str().unwrap();
    (text("kind"), text("payee").parse().unwrap(), text("amount").parse().unwrap(), payment["part"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_payment_is_listed_once_with_who_paid_whom_how_much_and_what_for() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let (router, token) = (chain.deployment.payment_router, chain.deployment.usdc);
    let [a, b, c] = [2, 3, 4].map(|index| chain.accounts[index]);
    call(&chain, PAYER, token, approveCall { spender: router, value: U256::MAX }).await;
    chain.pay(PAYER, 5, 77).await;
    pay_by_x402(&chain, 2, 1_000, B256::repeat_byte(1)).await;
    call(&chain, PAYER, router, payCall { paymentId: B256::repeat_byte(2), token, payee: a, amount: U256::from(2_000) }).await;
    let legs = [(a, (1_u128 << 31) + 5), (b, 7)].map(|(payee, amount)| Leg { payee, amount: U96::from(amount) });
    chain.pay(6, PAYER, 900_000_000).await;
    chain.pay(7, PAYER, 900_000_000).await;
    call(&chain, PAYER, router, batchPayCall { paymentRef: B256::repeat_byte(3), token, legs: legs.into() }).await;
    let shares = [(a, 3_334), (b, 3_333), (c, 3_333)].map(|(payee, bps)| Share { payee, bps });
    let split = splitPayCall { paymentRef: B256::repeat_byte(4), token, amount: U256::from(100), shares: shares.into() };
    call(&chain, PAYER, router, split).await;
    let wallet = pay_by_wallet(&chain, 3, 5_000, B256::repeat_byte(5)).await;
    synced(&chain, &pool).await;

    let all = list(&indexer, "").await;
    let expected = [
        ("x402", a, 1_000, 0),
        ("router", a, 2_000, 0),
        ("batch", a, (1 << 31) + 5, 0),
        ("batch", b, 7, 1),
        ("split", a, 34, 0),
        ("split", b, 33, 1),
        ("split", c, 33, 2),
        ("wallet", b, 5_000, 0),
    ];
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected, "a plain transfer is no payment");
    assert_eq!(all[7]["payer"].as_str().unwrap().parse::<Address>().unwrap(), wallet);
    for (query, count) in [
        (format!("payee={b}"), 3),
        (format!("account={b}&kind=batch"), 1),
        (format!("payer={wallet}"), 1),
        (format!("reference={}", B256::repeat_byte(4)), 3),
        (format!("tx={}", all[3]["transaction_hash"].as_str().unwrap()), 2),
        (format!("to_block={}", all[1]["block_number"]), 2),
    ] {
        assert_eq!(list(&indexer, &query).await.len(), count, "{query}");
    }
    // Several payments of one log end a page as well as any.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let (_, page) = indexer.get(&format!("/api/v1/chain/payments?account={}&limit=2{cursor}", chain.accounts[PAYER])).await;
        paged.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    paged.reverse();
    assert_eq!(paged.iter().map(told).collect::<Vec<_>>(), expected[..7]);

    let (_, stats) = indexer.get("/api/v1/chain/stats?kind=split").await;
    assert_eq!((&stats[0]["payments"], &stats[0]["amount"]), (&3.into(), &"100".into()), "{stats}");
    assert_as_from_scratch(&chain, &pool).await;

    let differences = async || {
        let report = indexer::verify(&crate::harness::config(&chain, &database), None, None, |_| {}).await.unwrap();
        report.differences.into_iter().map(|difference| difference.what).collect::<Vec<_>>()
    };
    assert_eq!(differences().await, Vec::<String>::new());
    for (change, back, said) in [
        (
            "UPDATE chain.payments SET part = 7 WHERE kind = 'wallet'",
            "UPDATE chain.payments SET part = 0 WHERE part = 7",
            "payments",
        ),
        (
            "UPDATE chain.payment_hours SET payments = payments + 1",
            "UPDATE chain.payment_hours SET payments = payments - 1",
            "sums",
        ),
    ] {
        sqlx::query(change).execute(&pool).await.unwrap();
        let found = differences().await;
        assert!(found.len() == 1 && found[0].contains(said), "{change}: {found:?}");
        sqlx::query(back).execute(&pool).await.unwrap();
    }
    let sums = stats_of(&indexer).await;
    let pay = (TransactionData::JSON(chain.tx(chain.accounts[9], transfer(a, 1))), 0);
    chain.provider.anvil_reorg(ReorgOptions { depth: 4, tx_block_pairs: vec![pay] }).await.unwrap();
    chain.pay(9, 8, 1).await;
    synced(&chain, &pool).await;
    assert_eq!(list(&indexer, "").await.iter().map(told).collect::<Vec<_>>(), expected[..4], "the others were undone");
    assert_ne!(stats_of(&indexer).await, sums);
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

/// Settles what the payer signed for Permit2 through the proxy of x402.
async fn pay_by_permit2(chain: &Chain, to: usize, amount: u64) {
    let authorization = x402::Permit2Authorization {
        permitted: x402::Permit2Permitted { token: chain.deployment.usdc, amount: amount.into() },
        from: chain.accounts[PAYER],
        spender: chain.deployment.x402_exact_permit2_proxy,
        nonce: U256::from(amount).into(),
        deadline: u64::from(u32::MAX).into(),
        witness: x402::Permit2Witness { to: chain.accounts[to], valid_after: 0.into() },
    };
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let signature = signer.sign_hash_sync(&authorization.signing_hash(chain.deployment.chain_id)).unwrap();
    let permit = PermitTransferFrom {
        permitted: TokenPermissions { token: chain.deployment.usdc, amount: U256::from(amount) },
        nonce: U256::from(amount),
        deadline: U256::from(u32::MAX),
    };
    let settle = settleCall {
        permit,
        owner: chain.accounts[PAYER],
        witness: Witness { to: chain.accounts[to], validAfter: U256::ZERO },
        signature: Bytes::from(signature.as_bytes().to_vec()),
    };
    call(chain, 8, chain.deployment.x402_exact_permit2_proxy, settle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_to_a_treasury_is_listed_whatever_others_have_it_log_beside() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let treasury = create_treasury(&chain).await;
    let pay = authorization(&chain, treasury, 1_234, B256::repeat_byte(1)).abi_encode();
    // Anybody may.
    let log = withdrawApprovalCall { id: B256::repeat_byte(2) }.abi_encode();
    let calls = [(chain.deployment.usdc, pay), (treasury, log)].map(|(to, data)| (to, false, Bytes::from(data)));
    call(&chain, 8, Deployment::MULTICALL3, aggregate3Call { calls: calls.into() }).await;
    synced(&chain, &pool).await;
    let all = list(&indexer, "kind=x402").await;
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [("x402", treasury, 1_234, 0)]);
    indexer.stop().await;
}

/// A token that anybody has as much of as he says, whoever is said to pay: it adds up what it was told to move and has it be everybody's balance.
const ANYTHING_GOES: [u8; 30] = alloy::hex!("3660241460125760443560005401600055005b60005460005260206000f3");

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_to_a_treasury_is_not_hidden_by_a_top_up_with_another_token_or_another_authorization() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let treasury = create_treasury(&chain).await;
    let (usdc, fake, from) = (chain.deployment.usdc, Address::repeat_byte(0xfa), chain.accounts[PAYER]);
    chain.provider.anvil_set_code(fake, Bytes::from_static(&ANYTHING_GOES)).await.unwrap();
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let top_up = |token| {
        let amount = U256::from(1_234);
        let terms = ITreasury::TopUp { token, from, amount, validBefore: U256::MAX, ..Default::default() };
        let signed = top_up_authorization(&terms, treasury, chain.deployment.chain_id).sign(&signer).unwrap();
        (treasury, topUpCall { terms, signature: Bytes::from(signed.as_bytes().to_vec()) }.abi_encode())
    };
    let pay = |nonce| (usdc, authorization(&chain, treasury, 1_234, B256::repeat_byte(nonce)).abi_encode());
    // The token of somebody's own before and after the payment; then what the payer topped the treasury up with, beside a payment as high.
    for calls in [vec![top_up(fake), pay(1)], vec![pay(2), top_up(fake)], vec![pay(3), top_up(usdc), pay(4)]] {
        let calls = calls.into_iter().map(|(to, data)| (to, false, Bytes::from(data))).collect();
        call(&chain, 8, Deployment::MULTICALL3, aggregate3Call { calls }).await;
    }
    synced(&chain, &pool).await;
    let told: Vec<String> =
        list(&indexer, "").await.iter().map(|payment| payment["reference"].as_str().unwrap().into()).collect();
    assert_eq!(told, [1, 2, 3, 4].map(|nonce| B256::repeat_byte(nonce).to_string()), "each payment, and not the top-up");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebodys_own_may_say_any_amount() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    // It says yes to everything.
    let token = Address::repeat_byte(0xfa);
    chain.provider.anvil_set_code(token, Bytes::from_static(&alloy::hex!("600160005260206000f3"))).await.unwrap();
    for id in 1..=2 {
        let pay = payCall { paymentId: B256::repeat_byte(id), token, payee: chain.accounts[2], amount: U256::MAX };
        call(&chain, PAYER, chain.deployment.payment_router, pay).await;
    }
    synced(&chain, &pool).await;
    let stats = stats_of(&indexer).await;
    let twice = "231584178474632390847141970017375815706539969331281128078915168015826259279870";
    assert_eq!((&stats[0]["payments"], stats[0]["amount"].as_str()), (&2.into(), Some(twice)), "{stats}");
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_permit2_is_told_from_a_transfer_by_what_the_proxy_logged() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    call(&chain, PAYER, chain.deployment.usdc, approveCall { spender: Deployment::PERMIT2, value: U256::MAX }).await;
    chain.pay(PAYER, 2, 3).await;
    pay_by_permit2(&chain, 2, 1_234).await;
    synced(&chain, &pool).await;
    let all = list(&indexer, "").await;
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), [("x402", chain.accounts[2], 1_234, 0)]);
    assert!(all[0]["reference"].is_null());
    // Whom the transaction called is the node's word: nothing hangs on it.
    sqlx::query("UPDATE chain.transactions SET recipient = NULL").execute(&pool).await.unwrap();
    sqlx::query("UPDATE chain.sync SET derivation = 0").execute(&pool).await.unwrap();
    indexer.stop().await;
    let indexer = Indexer::start(&chain, &database).await;
    assert_eq!(list(&indexer, "").await.iter().map(told).collect::<Vec<_>>(), all.iter().map(told).collect::<Vec<_>>());
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_that_was_taken_back_is_told_from_one_that_was_used() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let [used, canceled, neither] = [1, 2, 3].map(B256::repeat_byte);
    pay_by_x402(&chain, 2, 1_000, used).await;
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let (authorizer, usdc) = (signer.address(), chain.deployment.usdc);
    let message = CancelAuthorization { authorizer, nonce: canceled };
    let signed = cancel(message, usdc, chain.deployment.chain_id).sign(&signer).unwrap();
    let signature = Bytes::from(signed.as_bytes().to_vec());
    // Nothing else is in its block.
    call(&chain, 8, usdc, cancelAuthorization_1Call { authorizer, nonce: canceled, signature }).await;
    chain.pay(1, 2, 1).await;
    synced(&chain, &pool).await;
    let of = |nonce: B256| format!("/api/v1/chain/accounts/{authorizer}/authorizations/{nonce}");
    for (nonce, state, amount) in [(used, "used", "0.001"), (canceled, "canceled", "null"), (neither, "unused", "null")] {
        let (status, shown) = indexer.get(&of(nonce)).await;
        assert_eq!((status, shown["state"].as_str()), (200, Some(state)), "{shown}");
        assert!(shown["amount"].to_string().contains(amount) && shown["place"].is_null() == (nonce == neither), "{shown}");
    }
    let (_, told) = indexer.get(&format!("/api/v1/chain/events?account={authorizer}&reference={canceled}")).await;
    assert_eq!((told["data"][0]["name"].as_str(), told["data"].as_array().unwrap().len()), (Some("AuthorizationCanceled"), 1));
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

async fn stats_of(indexer: &Indexer) -> Value {
    indexer.get("/api/v1/chain/stats").await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_with_what_the_token_says_also_where_the_chain_is_older_than_the_mirror() {
    let chain = Chain::start().await;
    let database = database().await;
    let mut config = crate::harness::config(&chain, &database);
    // Every account was given its 1,000 USDC before.
    config.start_block = Some(chain.height().await + 1);
    let indexer = Indexer::start_with(config).await;
    indexer.ready().await;
    let pool = pool(&database).await;
    chain.block(&[(1, 2, 500_000), (2, 3, 250_000), (2, 2, 9), (4, 2, 1_000_000)]).await;
    chain.pay(2, 1, 125_000).await;
    synced(&chain, &pool).await;
    let account = chain.accounts[2];
    let mut orders = Vec::new();
    for order in ["asc", "desc"] {
        let (mut lines, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/chain/accounts/{account}/statement?order={order}&limit=2{cursor}");
            let (status, page) = indexer.get(&path).await;
            assert_eq!(status, 200, "{page}");
            let mut of_page: Vec<(i64, i64)> =
                page["data"].as_array().unwrap().iter().map(|line| (units(&line["amount"]), units(&line["balance"]))).collect();
            lines.extend(of_page.clone());
            if order == "desc" {
                of_page.reverse();
            }
            let mut balance = units(&page["opening_balance"]);
            for (amount, after) in of_page {
                balance += amount;
                assert_eq!(after, balance, "{page}");
            }
            assert_eq!(units(&page["closing_balance"]), balance, "{page}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        orders.push(lines);
    }
    orders[1].reverse();
    assert_eq!((orders[0].len(), &orders[0]), (5, &orders[1]));
    assert_eq!(orders[0][0].1 - orders[0][0].0, 1_000_000_000, "what it held before the mirror begins");
    assert_eq!(u64::try_from(orders[0][4].1).unwrap(), chain.balance(account).await);
    let file = reqwest::get(format!("{}/api/v1/chain/accounts/{account}/statement.csv", indexer.url)).await.unwrap();
    assert_eq!(file.headers()["content-type"], "text/csv; charset=utf-8");
    let file = file.text().await.unwrap();
    let last: Vec<&str> = file.lines().last().unwrap().split(',').collect();
    assert_eq!((file.lines().count(), last.len()), (6, file.lines().next().unwrap().split(',').count()));
    assert_eq!(last[6].parse::<money::Usdc>().unwrap().base_units(), chain.balance(account).await, "{file}");
    indexer.stop().await;
}

fn units(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap();
    let magnitude = text.trim_start_matches('-').parse::<money::Usdc>().unwrap().base_units();
    if text.starts_with('-') { -i64::try_from(magnitude).unwrap() } else { i64::try_from(magnitude).unwrap() }
}
