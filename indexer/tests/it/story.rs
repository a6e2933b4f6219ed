//! Wallets and agreements, made by the real contracts.

use alloy::{
    network::TransactionBuilder,
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U40, U56, U88, U96},
    },
    providers::ext::AnvilApi,
    rpc::types::{TransactionReceipt, TransactionRequest},
    sol_types::{SolCall, SolConstructor, SolEvent, SolValue},
};
use contracts::{
    Deployment,
    agent_wallet::AgentWallet::{
        acceptOwnershipCall, disputeEscrowCall, executePaymentCall, freezeCall, openEscrowCall, transferOwnershipCall,
    },
    agent_wallet_factory::{
        AgentWalletFactory::{self, WalletCreated, createWalletCall},
        IAgentWallet as Config,
    },
    escrow::{
        Escrow::{AgreementFunded, fundCall, markDeliveredCall, releaseCall},
        IEscrow::Terms,
    },
    multicall3::Multicall3::aggregate3Call,
    payment_router::{
        ISubscriptions::SubscriptionTerms,
        PaymentRouter::{SubscriptionCreated, subscribeCall},
    },
    service_registry::{
        IServiceRegistry::Offer,
        ServiceRegistry::{self, ServiceRegistered, registerCall},
    },
    treasury, treasury_factory,
    usdc::Usdc::approveCall,
};
use indexer::read::{self, AgreementStatus};

use crate::harness::{Chain, Indexer, assert_as_from_scratch, assert_balances, config, database, pool, synced};

const OWNER: usize = 0;
const OPERATOR: usize = 1;
const SHOP: usize = 2;

async fn call(chain: &Chain, from: usize, to: Address, call: impl SolCall) -> TransactionReceipt {
    let tx = TransactionRequest::default().with_from(chain.accounts[from]).with_to(to).with_input(call.abi_encode());
    chain.send(tx).await
}

fn emitted<E: SolEvent>(receipt: &TransactionReceipt) -> E {
    receipt.logs().iter().find_map(|log| E::decode_log(&log.inner).ok()).expect("the event was emitted").data
}

fn wallet_config(chain: &Chain, salt: u8) -> Config::WalletConfig {
    let policy = Config::Policy {
        paymentMax: U56::from(50_000_000),
        dailyLimit: U56::from(100_000_000),
        approvalAbove: U56::from(100_000_000),
        expiresAt: U40::from(99_999_999_999_u64),
        onlyAllowed: false,
    };
    let operator = Config::OperatorConfig {
        operator: chain.accounts[OPERATOR],
        policies: vec![Config::TokenPolicy { token: chain.deployment.usdc, policy }],
        recipients: vec![chain.accounts[SHOP]],
        lane: Default::default(),
    };
    Config::WalletConfig {
        owner: chain.accounts[OWNER],
        guardian: Address::ZERO,
        approvers: vec![],
        approvalsRequired: 0,
        operators: vec![operator],
        salt: B256::repeat_byte(salt),
    }
}

/// Where the wallet is that [`create_wallet`] creates.
pub(crate) async fn wallet_address(chain: &Chain, salt: u8) -> Address {
    let call = AgentWalletFactory::walletAddressCall { config: wallet_config(chain, salt) };
    let tx = TransactionRequest::default().with_to(chain.deployment.agent_wallet_factory).with_input(call.abi_encode());
    Address::from_word(B256::from_slice(&alloy::providers::Provider::call(&chain.provider, tx).await.unwrap()))
}

pub(crate) async fn create_wallet(chain: &Chain, salt: u8) -> Address {
    let config = wallet_config(chain, salt);
    let created = call(chain, OWNER, chain.deployment.agent_wallet_factory, createWalletCall { config }).await;
    emitted::<WalletCreated>(&created).wallet
}

async fn pay(chain: &Chain, wallet: Address, amount: u64, payment_id: B256) {
    let payment = executePaymentCall {
        token: chain.deployment.usdc,
        to: chain.accounts[SHOP],
        amount: U256::from(amount),
        paymentId: payment_id,
    };
    call(chain, OPERATOR, wallet, payment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_mirrored_from_its_first_log_on_with_what_remains_of_its_limit() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let snapshot = chain.provider.anvil_snapshot().await.unwrap();
    let wallet = create_wallet(&chain, 0).await;
    chain.call(chain.accounts[OWNER], crate::harness::transfer(wallet, 200_000_000)).await;
    pay(&chain, wallet, 30_000_000, B256::repeat_byte(7)).await;
    synced(&chain, &pool).await;

    let (_, shown) = indexer.get(&format!("/api/v1/chain/wallets/{wallet}")).await;
    assert_eq!(shown["owner"].as_str().unwrap().parse::<Address>().unwrap(), chain.accounts[OWNER], "{shown}");
    assert_eq!(shown["balance"].as_str().unwrap().parse::<money::Usdc>().unwrap().base_units(), 170_000_000);
    let limit = &shown["limits"][0];
    assert_eq!(
        (&limit["spent"], &limit["remaining"]),
        (&serde_json::json!("30000000"), &serde_json::json!("70000000")),
        "{shown}"
    );

    // What is put into escrow leaves the wallet too.
    let terms = Terms { buyer: wallet, ..terms(&chain, 20_000_000) };
    let theirs = SolValue::abi_decode(&terms.abi_encode()).unwrap();
    call(&chain, OPERATOR, wallet, openEscrowCall { terms: theirs }).await;
    synced(&chain, &pool).await;
    let (_, shown) = indexer.get(&format!("/api/v1/chain/wallets/{wallet}")).await;
    assert_eq!(shown["limits"][0]["remaining"], "50000000", "{shown}");

    // So does the bond of a dispute.
    let terms = Terms { buyer: wallet, disputeBond: U256::from(10_000_000), ..self::terms(&chain, 20_000_000) };
    let theirs = SolValue::abi_decode(&terms.abi_encode()).unwrap();
    call(&chain, OPERATOR, wallet, openEscrowCall { terms: theirs }).await;
    call(&chain, 4, chain.deployment.escrow, markDeliveredCall { terms: terms.clone(), deliveryHash: B256::ZERO }).await;
    let theirs = SolValue::abi_decode(&terms.abi_encode()).unwrap();
    call(&chain, OPERATOR, wallet, disputeEscrowCall { terms: theirs }).await;
    synced(&chain, &pool).await;
    let (_, shown) = indexer.get(&format!("/api/v1/chain/wallets/{wallet}")).await;
    assert_eq!(shown["limits"][0]["remaining"], "20000000", "{shown}");
    let proved = indexer::verify(&crate::harness::config(&chain, &database), None, None, |_| {}).await.unwrap();
    assert_eq!(proved.differences, [], "the wallet says the same");

    let (_, owned) = indexer.get(&format!("/api/v1/chain/wallets?owner={}", chain.accounts[OWNER])).await;
    assert_eq!(owned["data"][0]["id"].as_str().unwrap().parse::<Address>().unwrap(), wallet);

    let (_, made) = indexer.get(&format!("/api/v1/chain/events?contract={wallet}&order=asc")).await;
    assert_eq!(made["data"][0]["name"], "WalletInitialized", "logs before the factory's own are there");
    let (_, paid) = indexer.get(&format!("/api/v1/chain/events?reference={}", B256::repeat_byte(7))).await;
    assert_eq!((paid["data"][0]["name"].as_str(), paid["data"].as_array().unwrap().len()), (Some("PaymentExecuted"), 1));
    let both = format!("/api/v1/chain/events?account={}&reference={}", chain.accounts[SHOP], B256::repeat_byte(7));
    assert_eq!(indexer.get(&both).await.1["data"].as_array().unwrap().len(), 1);

    call(&chain, OWNER, wallet, transferOwnershipCall { newOwner: chain.accounts[SHOP] }).await;
    call(&chain, SHOP, wallet, acceptOwnershipCall {}).await;
    call(&chain, SHOP, wallet, freezeCall { operator: chain.accounts[OPERATOR] }).await;
    synced(&chain, &pool).await;
    let report = indexer::verify(&config(&chain, &database), None, None, |_| {}).await.unwrap();
    assert_eq!(report.differences, [], "what events say of the wallet is what its views say");
    assert_as_from_scratch(&chain, &pool).await;
    assert!(chain.provider.anvil_revert(snapshot).await.unwrap());
    chain.pay(4, 5, 1).await;
    synced(&chain, &pool).await;
    assert_eq!(indexer.get(&format!("/api/v1/chain/wallets/{wallet}")).await.0, 404, "its creation was undone");
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

/// One with 200 USDC.
pub(crate) async fn create_treasury(chain: &Chain) -> Address {
    create_treasury_of(chain, chain.accounts[OPERATOR]).await
}

async fn create_treasury_of(chain: &Chain, spender: Address) -> Address {
    let usdc = chain.deployment.usdc;
    let policy = treasury_factory::ITreasury::Policy {
        dailyLimit: U56::from(100_000_000).to(),
        orderMax: U56::from(50_000_000).to(),
        approvalAbove: U56::from(20_000_000).to(),
        onlyAllowed: false,
    };
    let grant = treasury_factory::ITreasury::Grant { spender, token: usdc, policy, recipients: vec![] };
    let config = treasury_factory::ITreasury::Config {
        owners: vec![chain.accounts[OWNER]],
        threshold: 1,
        guardians: vec![chain.accounts[7]],
        changeDelay: 86_400,
        recipientCooldown: 0,
        grants: vec![grant],
        salt: B256::ZERO,
    };
    let created =
        call(chain, OWNER, chain.deployment.treasury_factory, treasury_factory::TreasuryFactory::createCall { config }).await;
    let treasury = emitted::<treasury_factory::TreasuryFactory::TreasuryCreated>(&created).treasury;
    chain.call(chain.accounts[OWNER], crate::harness::transfer(treasury, 200_000_000)).await;
    treasury
}

fn order(chain: &Chain, amount: u64, nonce: u64) -> treasury::ITreasury::Order {
    treasury::ITreasury::Order {
        spender: chain.accounts[OPERATOR],
        token: chain.deployment.usdc,
        operation: 0,
        category: B256::repeat_byte(0xca),
        payments: vec![treasury::ITreasury::Payment {
            to: chain.accounts[SHOP],
            amount: U256::from(amount),
            paymentRef: B256::repeat_byte(0xfe),
        }],
        details: Default::default(),
        nonce: U256::from(nonce),
        validUntil: u64::from(u32::MAX),
        policyEpoch: 1,
        ownerEpoch: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_treasury_shows_its_policy_what_it_paid_and_what_waits_for_its_owners() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let treasury = create_treasury(&chain).await;
    for (amount, nonce) in [(10_000_000, 1), (40_000_000, 2)] {
        call(&chain, OPERATOR, treasury, treasury::Treasury::submitCall { order: order(&chain, amount, nonce) }).await;
    }
    synced(&chain, &pool).await;

    let (_, shown) = indexer.get(&format!("/api/v1/chain/treasuries/{treasury}")).await;
    assert_eq!(
        (&shown["threshold"], &shown["paused"], &shown["owners"]),
        (&1.into(), &false.into(), &serde_json::json!([chain.accounts[OWNER]]))
    );
    assert_eq!(shown["balance"].as_str().unwrap().parse::<money::Usdc>().unwrap().base_units(), 190_000_000, "{shown}");
    for (status, amount) in [("executed", "10000000"), ("proposed", "40000000")] {
        let (_, page) = indexer.get(&format!("/api/v1/chain/treasuries/{treasury}/proposals?status={status}")).await;
        assert_eq!(page["data"].as_array().unwrap().len(), 1, "{page}");
        assert_eq!(page["data"][0]["content"]["payments"][0]["amount"], amount);
        let id = page["data"][0]["id"].as_str().unwrap();
        assert_eq!(indexer.get(&format!("/api/v1/chain/treasuries/{treasury}/proposals/{id}")).await.1["status"], status);
    }
    let (_, paid) = indexer.get(&format!("/api/v1/chain/events?reference={}&name=OrderExecuted", B256::repeat_byte(0xfe))).await;
    assert_eq!(paid["data"].as_array().unwrap().len(), 1, "found by the reference of a payment inside it");
    assert_as_from_scratch(&chain, &pool).await;

    let config = config(&chain, &database);
    let differences = async || indexer::verify(&config, None, None, |_| {}).await.unwrap().differences;
    assert_eq!(differences().await, []);
    let (spender, tokens) = shown["policies"].as_object().unwrap().iter().next().unwrap();
    let token = tokens.as_object().unwrap().keys().next().unwrap();
    let spoiled = [
        (vec!["threshold"], serde_json::json!(2)),
        (vec!["guardians"], serde_json::json!([chain.accounts[8]])),
        (vec!["paused"], serde_json::json!(true)),
        (vec!["policies", spender, token, "limits", "dailyLimit"], serde_json::json!("1")),
    ];
    for (before, (path, value)) in spoiled.into_iter().enumerate() {
        let spoil = "UPDATE chain.treasuries SET state = jsonb_set(state, $1, $2) WHERE until_block IS NULL";
        sqlx::query(spoil).bind(&path).bind(&value).execute(&pool).await.unwrap();
        assert_eq!(differences().await.len(), before + 1, "{path:?} {value}");
    }
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_ends_with_its_nonce_and_nobody_makes_one_by_withdrawing_what_was_never_given() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let treasury = create_treasury(&chain).await;
    let stranger = treasury::Treasury::withdrawApprovalCall { id: B256::repeat_byte(0x66) };
    call(&chain, 9, treasury, stranger).await;
    // Two wait with one nonce, one with another; a payment within the tier uses the first, the spender takes the second back.
    for (amount, nonce) in [(40_000_000, 1), (41_000_000, 1), (42_000_000, 2), (43_000_000, 3), (10_000_000, 1)] {
        call(&chain, OPERATOR, treasury, treasury::Treasury::submitCall { order: order(&chain, amount, nonce) }).await;
    }
    let before = chain.height().await;
    let cancel = treasury::Treasury::cancelNonceCall { spender: chain.accounts[OPERATOR], nonce: U256::from(2) };
    call(&chain, OPERATOR, treasury, cancel).await;
    synced(&chain, &pool).await;
    let listed = async |at: &str| {
        let (_, page) = indexer.get(&format!("/api/v1/chain/treasuries/{treasury}/proposals?{at}")).await;
        let told = |row: &serde_json::Value| (row["content"]["payments"][0]["amount"].clone(), row["status"].clone());
        let mut all: Vec<_> = page["data"].as_array().unwrap().iter().map(told).map(|(a, b)| format!("{a} {b}")).collect();
        all.sort();
        all.join(", ").replace('"', "").replace("000000", "")
    };
    assert_eq!(listed("").await, "10 executed, 40 void, 41 void, 42 void, 43 proposed");
    let then = listed(&format!("at_block={before}")).await;
    assert_eq!(then, "10 executed, 40 void, 41 void, 42 proposed, 43 proposed");
    let report = indexer::verify(&config(&chain, &database), None, None, |_| {}).await.unwrap();
    assert_eq!(report.differences, []);
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_treasury_puts_into_escrow_is_paid_once_when_it_is_released() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    let treasury = create_treasury(&chain).await;
    let terms = Terms { buyer: treasury, ..terms(&chain, 9_000_000) };
    let id = read_id(&chain, &terms).await;
    let mut open = order(&chain, 9_000_000, 1);
    open.operation = 2;
    open.payments[0].to = terms.seller;
    open.payments[0].paymentRef = id;
    open.details = terms.abi_encode().into();
    call(&chain, OPERATOR, treasury, treasury::Treasury::submitCall { order: open }).await;
    synced(&chain, &pool).await;
    let payments = async || indexer.get("/api/v1/chain/payments").await.1["data"].as_array().unwrap().clone();
    assert_eq!(payments().await, Vec::<serde_json::Value>::new(), "the money waits");
    let release = treasury::Treasury::releaseEscrowCall { details: terms.abi_encode().into() };
    call(&chain, OPERATOR, treasury, release).await;
    synced(&chain, &pool).await;
    let paid = payments().await;
    assert_eq!(
        (paid.len(), paid[0]["kind"].as_str(), paid[0]["amount"].as_str()),
        (1, Some("escrow"), Some("9000000")),
        "{paid:?}"
    );
    assert_eq!(paid[0]["payer"].as_str().unwrap().parse::<Address>().unwrap(), treasury);
    let stats = indexer.get("/api/v1/chain/stats").await.1;
    assert_eq!((stats.as_array().unwrap().len(), &stats[0]["payments"]), (1, &1.into()), "{stats}");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_treasury_hides_no_payment_behind_an_agreement_that_it_opens_on_the_same_terms() {
    let chain = Chain::start().await;
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    // The spender is a contract that does what anybody asks for, several things in one transaction.
    let spender = Deployment::MULTICALL3;
    let treasury = create_treasury_of(&chain, spender).await;
    for paid_first in [true, false] {
        let terms = Terms { buyer: treasury, salt: B256::repeat_byte(paid_first.into()), ..terms(&chain, 4_000_000) };
        let mut pay = order(&chain, 4_000_000, if paid_first { 1 } else { 3 });
        pay.spender = spender;
        pay.payments[0].to = terms.seller;
        pay.payments[0].paymentRef = read_id(&chain, &terms).await;
        let mut open = treasury::ITreasury::Order { operation: 2, details: terms.abi_encode().into(), ..pay.clone() };
        open.nonce += U256::ONE;
        let mut orders = [pay, open];
        if !paid_first {
            orders.reverse();
        }
        let submit = |order| (treasury, false, Bytes::from(treasury::Treasury::submitCall { order }.abi_encode()));
        call(&chain, 9, spender, aggregate3Call { calls: orders.map(submit).into() }).await;
    }
    synced(&chain, &pool).await;
    let payments = indexer.get("/api/v1/chain/payments").await.1["data"].as_array().unwrap().clone();
    let told = |payment: &serde_json::Value| (payment["kind"].to_string(), payment["amount"].to_string());
    let paid = ("\"treasury\"".to_owned(), "\"4000000\"".to_owned());
    assert_eq!(payments.iter().map(told).collect::<Vec<_>>(), [paid.clone(), paid], "what waits in escrow is not paid yet");
    indexer.stop().await;
}

/// What the escrow calls an agreement on these terms.
async fn read_id(chain: &Chain, terms: &Terms) -> B256 {
    let call = contracts::escrow::Escrow::agreementIdCall { terms: terms.clone() };
    let tx = TransactionRequest::default().with_to(chain.deployment.escrow).with_input(call.abi_encode());
    B256::from_slice(&alloy::providers::Provider::call(&chain.provider, tx).await.unwrap())
}

fn terms(chain: &Chain, amount: u64) -> Terms {
    Terms {
        buyer: chain.accounts[3],
        seller: chain.accounts[4],
        arbiter: chain.accounts[5],
        token: chain.deployment.usdc,
        amount: U256::from(amount),
        feeBps: 100,
        feeRecipient: chain.accounts[6],
        deliverBy: u64::from(u32::MAX),
        reviewPeriod: 3_600,
        arbitrationPeriod: 3_600,
        disputeBond: U256::ZERO,
        defaultOutcome: 0,
        contentHash: B256::repeat_byte(1),
        agentId: U256::ZERO,
        salt: B256::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agreement_is_followed_from_funding_to_release_and_at_every_block_between() {
    let chain = Chain::start().await;
    let (escrow, terms) = (chain.deployment.escrow, terms(&chain, 40_000_000));
    let database = database().await;
    let indexer = Indexer::start(&chain, &database).await;
    let pool = pool(&database).await;
    call(&chain, 3, chain.deployment.usdc, approveCall { spender: escrow, value: U256::MAX }).await;
    let funded = call(&chain, 3, escrow, fundCall { terms: terms.clone() }).await;
    let id = emitted::<AgreementFunded>(&funded).id;
    call(&chain, 4, escrow, markDeliveredCall { terms: terms.clone(), deliveryHash: B256::repeat_byte(9) }).await;
    call(&chain, 3, escrow, releaseCall { terms }).await;
    synced(&chain, &pool).await;

    let mut conn = pool.acquire().await.unwrap();
    let agreement = read::agreement(&mut conn, id, None).await.unwrap().unwrap().state;
    assert_eq!(
        (agreement.status, agreement.released, agreement.fee),
        (AgreementStatus::Released, U256::from(40_000_000), U256::from(400_000))
    );
    assert_eq!((agreement.buyer, agreement.delivery_hash), (chain.accounts[3], Some(B256::repeat_byte(9))));
    let before = read::agreement(&mut conn, id, funded.block_number).await.unwrap().unwrap().state;
    assert_eq!((before.status, before.funded), (AgreementStatus::Funded, U256::from(40_000_000)));
    assert!(read::agreement(&mut conn, id, Some(funded.block_number.unwrap() - 1)).await.unwrap().is_none());

    let (status, shown) = indexer.get(&format!("/api/v1/chain/agreements/{id}")).await;
    assert_eq!(
        (status, shown["status"].as_str(), shown["finality"].as_str()),
        (200, Some("released"), Some("pending")),
        "{shown}"
    );
    assert_eq!(indexer.get(&format!("/api/v1/chain/agreements/{}", B256::ZERO)).await.0, 404);
    let list = async |status: &str| {
        let of = format!("buyer={}&seller={}&status={status}", chain.accounts[3], chain.accounts[4]);
        indexer.get(&format!("/api/v1/chain/agreements?{of}")).await.1["data"].as_array().unwrap().len()
    };
    assert_eq!((list("released").await, list("funded").await), (1, 0));
    assert_balances(&chain, &pool).await;
    assert_as_from_scratch(&chain, &pool).await;
    indexer.stop().await;
}

/// One object of each kind that the mirror follows.
pub(crate) struct Made {
    pub(crate) wallet: Address,
    pub(crate) treasury: Address,
    pub(crate) agreement: B256,
    pub(crate) subscription: B256,
    pub(crate) service: B256,
}

pub(crate) async fn make_one_of_each(chain: &Chain) -> Made {
    let token = chain.deployment.usdc;
    let wallet = create_wallet(chain, 0).await;
    chain.call(chain.accounts[OWNER], crate::harness::transfer(wallet, 50_000_000)).await;
    pay(chain, wallet, 1_000_000, B256::repeat_byte(7)).await;
    let treasury = create_treasury(chain).await;
    call(chain, OPERATOR, treasury, treasury::Treasury::submitCall { order: order(chain, 10_000_000, 1) }).await;
    call(chain, 3, token, approveCall { spender: chain.deployment.escrow, value: U256::MAX }).await;
    let funded = call(chain, 3, chain.deployment.escrow, fundCall { terms: terms(chain, 40_000_000) }).await;
    call(chain, 3, token, approveCall { spender: chain.deployment.payment_router, value: U256::MAX }).await;
    let agreed = SubscriptionTerms {
        payer: chain.accounts[3],
        payee: chain.accounts[SHOP],
        token,
        amount: U96::from(5),
        totalMax: U96::MAX,
        start: U40::from(1),
        trial: 0,
        period: 3_600,
        catchUpMax: 0,
        salt: B256::ZERO,
    };
    let subscribed = call(chain, 3, chain.deployment.payment_router, subscribeCall { terms: agreed }).await;
    let service = register(chain, chain.deployment.service_registry, chain.accounts[SHOP]).await;
    Made {
        wallet,
        treasury,
        agreement: emitted::<AgreementFunded>(&funded).id,
        subscription: emitted::<SubscriptionCreated>(&subscribed).id,
        service,
    }
}

/// Registers a service of the shop's, whose id is the same in each registry.
pub(crate) async fn register(chain: &Chain, registry: Address, payee: Address) -> B256 {
    let offer = Offer {
        endpoint: "https://shop.example".into(),
        metadataURI: String::new(),
        metadataHash: B256::ZERO,
        pricing: 0,
        token: chain.deployment.usdc,
        price: U88::from(9),
        period: 0,
        agentId: U256::ZERO,
    };
    let register = registerCall { salt: B256::ZERO, payee, arbiter: chain.accounts[5], offer };
    emitted::<ServiceRegistered>(&call(chain, SHOP, registry, register).await).service
}

/// A registry beside that of the deployment.
pub(crate) async fn deploy_registry(chain: &Chain) -> Address {
    let deployment = &chain.deployment;
    let made = ServiceRegistry::constructorCall {
        stakeToken_: deployment.usdc,
        escrow_: deployment.escrow,
        router_: deployment.payment_router,
    };
    let code = [&ServiceRegistry::BYTECODE[..], &made.abi_encode()].concat();
    let tx = TransactionRequest::default().with_from(chain.accounts[OWNER]).with_deploy_code(code);
    chain.send(tx).await.contract_address.unwrap()
}
