//! The trade: a seller, its two reports, and the agent that buys them.

use std::time::Duration;

use agent::WalletPayer;
use alloy::{
    primitives::{Address, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::{Context, Result, bail, ensure};
use api::{
    AgentType, Category, Client as MarketClient, CreateListing, Discover, EscrowAgreement, EscrowTerms, Initiate, PaymentMethod,
    Register, Transaction, TransactionStatus,
};
use contracts::{
    ContractError,
    agent_wallet::{AgentWallet, IEscrow as WalletEscrow},
    escrow::{Escrow, IEscrow},
};
use x402::client::{Answer, Client, Policy};

use super::{
    BIG_PRICE, SMALL_PRICE, TOO_MUCH, Told,
    cast::{Cast, confirmed},
    reconcile::caught_up,
};

pub(super) const SMALL_REPORT: &str = "city,price per kWh\nLisbon,0.21\nOslo,0.09\n";
const BIG_REPORT: &str = "A year of hourly electricity prices of forty cities, cleaned and explained.\n";
/// How long the market may take to see what the chain shows.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(20);
const MIRROR_POLL: Duration = Duration::from_millis(10);
/// Enough gas for a payment, so that one the chain refuses is sent all the same, for everybody to see.
const PAYMENT_GAS: u64 = 300_000;

/// Proves `wallet` to the market by `key`, which is its own or, for an AgentWallet, its operator's.
async fn register(
    market: &MarketClient,
    name: &str,
    agent_type: AgentType,
    wallet: Address,
    key: &PrivateKeySigner,
) -> Result<(MarketClient, String)> {
    let challenge = market.challenge(wallet).await?;
    let signature = key.sign_message_sync(challenge.message.as_bytes())?.as_bytes().into();
    let request = Register::new(name, agent_type, wallet, challenge.nonce, signature);
    let key = market.register(&request).await?.api_key;
    Ok((market.with_api_key(&key), key))
}

pub(super) async fn register_seller(cast: &mut Cast<'_>) -> Result<Told> {
    let (seller, agent) = (&cast.seller, &cast.agent);
    (cast.as_seller, _) = register(&cast.market, "Grid Reports", AgentType::Seller, seller.address(), &seller.signer).await?;
    (cast.as_agent, cast.agent_key) =
        register(&cast.market, "Procurement agent", AgentType::Buyer, cast.wallet, &agent.signer).await?;
    Ok(Told::that("so does the agent, for its wallet"))
}

pub(super) async fn publish(cast: &mut Cast<'_>) -> Result<Told> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let listing = |title: &str, price, content: &str| CreateListing {
        title: title.to_owned(),
        description: "Electricity prices for agents that schedule work".to_owned(),
        category: Category::Computation,
        tags: vec!["energy".to_owned(), "prices".to_owned()],
        price,
        content_type: "text/plain".to_owned(),
        content_base64: Some(STANDARD.encode(content)),
        metadata: serde_json::Map::new(),
        expires_at: None,
    };
    let (small, big) = (
        listing("Electricity prices today", SMALL_PRICE, SMALL_REPORT),
        listing("Electricity prices of a year", BIG_PRICE, BIG_REPORT),
    );
    cast.small = cast.as_seller.create_listing(&small).await?.id;
    cast.big = cast.as_seller.create_listing(&big).await?.id;
    Ok(Told::that(format!("for {SMALL_PRICE} and {BIG_PRICE} USDC")))
}

pub(super) async fn discover(cast: &mut Cast<'_>) -> Result<Told> {
    let search = Discover { q: Some("electricity prices".to_owned()), max_price: Some("1".parse()?), ..Discover::default() };
    let found = cast.market.discover(&search).await?.data;
    let best = found.first().context("the market finds nothing")?;
    ensure!(found.len() == 1 && best.id == cast.small, "the market finds something else: {found:?}");
    Ok(Told::that(format!("“{}”", best.title)))
}

/// 402, sign, 200: the wallet's lane pays, the facilitator settles, no transaction of the wallet's own.
pub(super) async fn buy_by_x402(cast: &mut Cast<'_>) -> Result<Told> {
    let payer = WalletPayer::connect(cast.stack.rpc_url().clone(), cast.wallet, cast.agent.signer.clone()).await?;
    let client = Client::new(payer, Policy::default().max_per_payment("0.10".parse()?))?;
    let Answer::Paid(paid) = client.get(cast.market.express_url(cast.small)).await? else { bail!("the report was free") };
    let transaction = paid.receipt.as_ref().and_then(|receipt| receipt.transaction_hash()).context("there is no receipt")?;
    ensure!(paid.response.status().is_success(), "the market answered {}", paid.response.status());
    let content = paid.response.text().await?;
    ensure!(content == SMALL_REPORT, "something else was delivered: {content:?}");
    Ok(Told::paid("agent's wallet", "seller", SMALL_PRICE, transaction, "402, signed, 200"))
}

pub(super) async fn fund_escrow(cast: &mut Cast<'_>) -> Result<Told> {
    let order = Initiate { listing_id: cast.big, buyer: Some(cast.wallet), payment_method: Some(PaymentMethod::Escrow) };
    let order = cast.as_agent.initiate(&order).await?;
    let wallet = AgentWallet::new(cast.wallet, &cast.agent.provider);
    let receipt = confirmed(wallet.openEscrow(wallet_terms(&agreement(&order)?.terms))).await?;
    cast.order = Some(seen(cast, &order, TransactionStatus::PaymentConfirmed).await?);
    Ok(Told::paid("agent's wallet", "escrow", BIG_PRICE, receipt.transaction_hash, "the market saw it on chain"))
}

pub(super) async fn deliver(cast: &mut Cast<'_>) -> Result<Told> {
    let order = cast.order()?.clone();
    let agreement = agreement(&order)?;
    let escrow = Escrow::new(agreement.escrow, &cast.seller.provider);
    let receipt = confirmed(escrow.markDelivered(terms(&agreement.terms), order.content_hash)).await?;
    // The market opens the content to the buyer only against what the mirror shows.
    caught_up(cast, receipt.block_number.unwrap_or_default()).await?;
    cast.as_seller.deliver(order.id, order.content_hash).await?;
    cast.order = Some(seen(cast, &order, TransactionStatus::Delivered).await?);
    Ok(Told { transaction: Some(receipt.transaction_hash), ..Told::that("hash on chain, content at the market") })
}

pub(super) async fn release(cast: &mut Cast<'_>) -> Result<Told> {
    let order = cast.order()?.clone();
    let content = cast.as_agent.transaction_content(order.id).await?;
    ensure!(content.body.as_ref() == BIG_REPORT.as_bytes(), "something else was delivered");
    let wallet = AgentWallet::new(cast.wallet, &cast.agent.provider);
    let receipt = confirmed(wallet.releaseEscrow(wallet_terms(&agreement(&order)?.terms))).await?;
    seen(cast, &order, TransactionStatus::Completed).await?;
    Ok(Told::paid("escrow", "seller", BIG_PRICE, receipt.transaction_hash, "content matched its hash"))
}

/// The wallet has the money, the operator has the key, and the chain still says no.
pub(super) async fn overspend(cast: &Cast<'_>) -> Result<Told> {
    let balance = cast.balance(cast.wallet).await?;
    ensure!(balance > TOO_MUCH, "the wallet holds only {balance} USDC");
    let wallet = AgentWallet::new(cast.wallet, &cast.agent.provider);
    let payment = wallet.executePayment(cast.deployment.usdc, cast.seller.address(), TOO_MUCH.into(), keccak256("too much"));
    let refusal = match payment.call().await {
        Ok(_) => bail!("the chain would pay {TOO_MUCH} USDC over the limit"),
        Err(error) => error.as_revert_data().map(|data| ContractError::decode(&data).to_string()).context("it gave no reason")?,
    };
    let receipt = payment.gas(PAYMENT_GAS).send().await?.get_receipt().await?;
    ensure!(!receipt.status(), "the chain paid {TOO_MUCH} USDC over the limit");
    ensure!(cast.balance(cast.wallet).await? == balance, "money moved");
    Ok(Told::paid("agent's wallet", "seller", TOO_MUCH, receipt.transaction_hash, format!("refused: {refusal}")))
}

fn agreement(order: &Transaction) -> Result<&EscrowAgreement> {
    order.agreement.as_ref().context("the order does not go through the escrow")
}

/// Asks the market until it has seen on chain what it must have seen.
async fn seen(cast: &Cast<'_>, order: &Transaction, status: TransactionStatus) -> Result<Transaction> {
    let look = async {
        loop {
            let now = cast.as_agent.transaction(order.id).await?;
            if now.status == status {
                return Ok(now);
            }
            tokio::time::sleep(MIRROR_POLL).await;
        }
    };
    tokio::time::timeout(MIRROR_TIMEOUT, look).await.with_context(|| format!("the market never saw {status:?}"))?
}

macro_rules! escrow_terms {
    ($module:ident, $terms:expr) => {{
        let t = $terms;
        $module::Terms {
            buyer: t.buyer,
            seller: t.seller,
            arbiter: t.arbiter,
            token: t.token,
            amount: t.amount.into(),
            feeBps: t.fee_bps,
            feeRecipient: t.fee_recipient,
            deliverBy: t.deliver_by,
            reviewPeriod: t.review_period,
            arbitrationPeriod: t.arbitration_period,
            disputeBond: t.dispute_bond.into(),
            defaultOutcome: t.default_outcome,
            contentHash: t.content_hash,
            agentId: U256::from(t.agent_id),
            salt: t.salt,
        }
    }};
}

/// The terms as the Escrow's binding has them.
fn terms(terms: &EscrowTerms) -> IEscrow::Terms {
    escrow_terms!(IEscrow, terms)
}

/// The same as the AgentWallet's binding has them.
fn wallet_terms(terms: &EscrowTerms) -> WalletEscrow::Terms {
    escrow_terms!(WalletEscrow, terms)
}
