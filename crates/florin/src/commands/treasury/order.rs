//! Orders: everything that moves money out of a treasury.

use std::path::PathBuf;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolValue,
};
use anyhow::{Context, Result, bail};
use contracts::{
    Event,
    signing::escrow,
    treasury::{ITreasury, Treasury as Contract},
};
use money::Usdc;
use serde_json::json;

use super::{document::Document, policy};
use crate::{
    chain::{Chain, Target},
    commands::{
        escrow::{Terms, find_terms},
        payees,
        wallet::Configuration,
    },
    values::{self, When},
};

const PAY: u8 = 0;
const CREATE_WALLET: u8 = 1;
const OPEN_ESCROW: u8 = 2;
const DISPUTE_ESCROW: u8 = 3;
const CALL_ROUTER: u8 = 4;

/// What every order takes.
#[derive(clap::Args, Clone, Debug)]
struct OrderOptions {
    /// Whose policy is charged: an address, or `owners` [default: the key's own if it has one, else `owners`]
    #[arg(long, value_name = "SPENDER", value_parser = policy::spender)]
    spender: Option<Address>,

    /// Budget category, for the books
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
    category: B256,

    /// When the order expires: a duration or a time
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    valid: When,

    /// Number of the order: of all that have the same one only one is ever executed [default: a fresh one, printed]
    #[arg(long, value_name = "NUMBER")]
    nonce: Option<U256>,

    /// Write the order to a file for the owners to sign, and send nothing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What an order does.
struct Job {
    operation: u8,
    payments: Vec<ITreasury::Payment>,
    details: Bytes,
}

impl Job {
    fn one(operation: u8, to: Address, amount: Usdc, reference: B256, details: Vec<u8>) -> Self {
        let payments = vec![ITreasury::Payment { to, amount: amount.into(), paymentRef: reference }];
        Self { operation, payments, details: details.into() }
    }
}

impl OrderOptions {
    /// Writes the order, or gives it to the treasury, which executes it at once or announces it to the owners.
    async fn order(&self, target: &Target, job: Job) -> Result<()> {
        if let Some(file) = &self.out {
            let (chain, treasury) = target.connect().await?;
            let key = target.options.key.signer().ok().map(|key| key.address());
            let order = self.fill_in(&chain, treasury, key, job).await?;
            let document = Document::order(&order, treasury, chain.id());
            document.write(file)?;
            let text =
                format!("{}written to {}: owners sign it with `florin treasury sign`", document.in_words(), file.display());
            target.options.answer(&json!({ "order": document.id(), "file": file }), &text);
            return Ok(());
        }
        let (sender, treasury) = target.sender().await?;
        let order = self.fill_in(&sender.chain, treasury, Some(sender.address()), job).await?;
        let events = sender.send(treasury, &Contract::submitCall { order }).await?;
        for event in &events {
            if let Event::Treasury(Contract::TreasuryEvents::OrderProposed(proposed)) = event {
                let id = proposed.id;
                eprintln!("owners approve it with `florin treasury approve {id}`,");
                eprintln!(
                    "or sign it offline: `florin treasury show --order {id} --out order.json`; then `florin treasury execute {id}`"
                );
            }
        }
        Ok(())
    }

    async fn fill_in(&self, chain: &Chain, treasury: Address, key: Option<Address>, job: Job) -> Result<ITreasury::Order> {
        let (contract, token) = (Contract::new(treasury, chain.provider()), chain.deployment.usdc);
        let spender = match (self.spender, key) {
            (Some(named), _) => named,
            (None, Some(key)) if contract.policyOf(key, token).call().await?.active => key,
            _ => Address::ZERO,
        };
        let policy = contract.policyOf(spender, token).call().await?;
        if !policy.active && spender.is_zero() {
            bail!(
                "the owners have no budget in this treasury: give them one by `florin treasury change set-policy owners --daily ...`, or name a --spender"
            );
        }
        Ok(ITreasury::Order {
            spender,
            token,
            operation: job.operation,
            category: self.category,
            payments: job.payments,
            details: job.details,
            nonce: self.nonce.unwrap_or_else(fresh_nonce),
            validUntil: self.valid.from(chain.now),
            policyEpoch: policy.epoch,
            ownerEpoch: contract.ownerEpoch().call().await?,
        })
    }
}

/// A fresh number, told to the person, who needs it to repeat the order.
fn fresh_nonce() -> U256 {
    let nonce = values::fresh();
    eprintln!("order number {nonce}: repeat with --nonce {nonce}, and it is executed once at most");
    nonce
}

/// Pay somebody: at once within the key's own policy, otherwise once the owners approved
///
/// Example: florin treasury pay --to 0xSUPPLIER --amount 12.50 --reference "invoice 17"
#[derive(clap::Args, Debug)]
pub(super) struct Pay {
    /// Who is paid
    #[arg(long, value_name = "ADDRESS")]
    to: Address,

    /// How much, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,

    /// Invoice or reference, for the books
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
    reference: B256,

    #[command(flatten)]
    order: OrderOptions,
}

impl Pay {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        self.order.order(target, Job::one(PAY, self.to, self.amount, self.reference, vec![])).await
    }
}

/// Pay many in one order, from a CSV file with the lines `address,amount,reference`
///
/// Example: florin treasury batch payroll.csv --category payroll --out payroll.json
#[derive(clap::Args, Debug)]
pub(super) struct Batch {
    /// Lines of `address,amount,reference`, the reference optional; a first line that begins with `address` is a heading
    file: PathBuf,

    #[command(flatten)]
    order: OrderOptions,
}

impl Batch {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let text = std::fs::read_to_string(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let payees = payees::read(&text).with_context(|| format!("{} is no batch", self.file.display()))?;
        let payment =
            |payee: payees::Payee| ITreasury::Payment { to: payee.to, amount: payee.amount.into(), paymentRef: payee.reference };
        let payments = payees.into_iter().map(payment).collect();
        self.order.order(target, Job { operation: PAY, payments, details: Bytes::new() }).await
    }
}

/// Create an agent's wallet that the treasury owns, and fund it
///
/// Example: florin treasury create-wallet --amount 100 --operator 0xAGENT --daily 20 --payment-max 5
#[derive(clap::Args, Debug)]
pub(super) struct CreateWallet {
    /// What the wallet is funded with, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,

    #[command(flatten)]
    configuration: Configuration,

    #[command(flatten)]
    order: OrderOptions,
}

impl CreateWallet {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, treasury) = target.connect().await?;
        let (config, wallet) = self.configuration.for_owner(&chain, treasury).await?;
        self.order.order(target, Job::one(CREATE_WALLET, wallet, self.amount, B256::ZERO, config.abi_encode())).await
    }
}

/// Put money into escrow for a seller
///
/// Example: florin treasury open-escrow --seller 0xSELLER --amount 50 --deliver-by 7d --terms terms.json
#[derive(clap::Args, Debug)]
pub(super) struct OpenEscrow {
    #[command(flatten)]
    terms: Terms,

    #[command(flatten)]
    order: OrderOptions,
}

impl OpenEscrow {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, treasury) = target.connect().await?;
        let terms = self.terms.agree(&chain, treasury)?;
        let id = escrow::agreement_id(&terms, chain.deployment.escrow, chain.id());
        let amount = values::usdc(terms.amount);
        self.order.order(target, Job::one(OPEN_ESCROW, terms.seller, amount, id, terms.abi_encode())).await
    }
}

/// Dispute a delivery that the treasury has in escrow
///
/// Example: florin treasury dispute-escrow 0xID
#[derive(clap::Args, Debug)]
pub(super) struct DisputeEscrow {
    /// The agreement's id, or the file with its terms
    agreement: String,

    #[command(flatten)]
    order: OrderOptions,
}

impl DisputeEscrow {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, _) = target.connect().await?;
        let message = find_terms(&self.agreement, &chain).await?;
        let (terms, id) = (&message.content, message.digest());
        let bond = values::usdc(terms.disputeBond);
        self.order.order(target, Job::one(DISPUTE_ESCROW, terms.seller, bond, id, terms.abi_encode())).await
    }
}

/// Release an agreement to its seller, by the spender who opened it or by an owner
///
/// Example: florin treasury release-escrow 0xID
#[derive(clap::Args, Debug)]
pub(super) struct ReleaseEscrow {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl ReleaseEscrow {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, treasury) = target.sender().await?;
        let details = find_terms(&self.agreement, &sender.chain).await?.content.abi_encode().into();
        sender.send(treasury, &Contract::releaseEscrowCall { details }).await.map(drop)
    }
}

/// Call the payment router with an allowance of exactly the amount; always takes the owners
///
/// Example: florin treasury call-router --amount 30 --data 0x... --out order.json
#[derive(clap::Args, Debug)]
pub(super) struct CallRouter {
    /// What the router takes, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,

    /// The call, ABI-encoded
    #[arg(long, value_name = "HEX")]
    data: Bytes,

    #[command(flatten)]
    order: OrderOptions,
}

impl CallRouter {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, _) = target.connect().await?;
        let router = chain.deployment.payment_router;
        if router.is_zero() {
            bail!("there is no payment router on chain {}", chain.id());
        }
        self.order.order(target, Job::one(CALL_ROUTER, router, self.amount, B256::ZERO, self.data.to_vec())).await
    }
}

/// Pull what the token refused to pay to you, to an address of your choice
///
/// Example: florin treasury withdraw-credit --to 0xME
#[derive(clap::Args, Debug)]
pub(super) struct WithdrawCredit {
    /// Who gets it
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
}

impl WithdrawCredit {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, treasury) = target.sender().await?;
        let token = sender.chain.deployment.usdc;
        sender.send(treasury, &Contract::withdrawCreditCall { token, to: self.to }).await.map(drop)
    }
}
