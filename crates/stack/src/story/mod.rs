//! The story that `florin dev` plays and the end-to-end test checks: every part of the product once, on real parts.
//!
//! An organisation keeps USDC in a 2-of-3 treasury and gives its agent a wallet with daily limits. A seller registers and publishes two
//! reports. The agent finds the small one and pays for it by x402; it buys the big one through escrow; it tries to pay more than its limit
//! and the chain refuses. In the end the mirror must hold every event, and every balance must be the chain's, to the unit.

mod balance;
mod cast;
mod onchain;
mod organisation;
mod purchase;
mod reconcile;

use std::time::{Duration, Instant};

use alloy::primitives::TxHash;
use anyhow::Result;
use money::Usdc;

use crate::Stack;
use cast::Cast;
pub use reconcile::Reconciliation;

/// What the organisation puts into its treasury.
const TREASURY_FUNDS: Usdc = Usdc::from_base_units(1_000_000_000);
/// What the treasury gives the agent's wallet.
const WALLET_FUNDS: Usdc = Usdc::from_base_units(100_000_000);
/// What the wallet lets its operator spend in any 24 hours.
const DAILY_LIMIT: Usdc = Usdc::from_base_units(50_000_000);
/// What the small report costs.
const SMALL_PRICE: Usdc = Usdc::from_base_units(50_000);
/// What the big report costs.
const BIG_PRICE: Usdc = Usdc::from_base_units(25_000_000);
/// What the agent puts into its balance at the market.
const DEPOSIT: Usdc = Usdc::from_base_units(1_000_000);
/// More than what is left of the daily limit by then, less than what is in the wallet.
const TOO_MUCH: Usdc = Usdc::from_base_units(40_000_000);

/// One thing that happened, as the closing table shows it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened, in a few words.
    pub title: &'static str,
    /// Who paid, if money moved or was meant to.
    pub payer: Option<&'static str>,
    /// Who was paid.
    pub payee: Option<&'static str>,
    /// How much.
    pub amount: Option<Usdc>,
    /// The transaction on chain.
    pub transaction: Option<TxHash>,
    /// What there is to say about how it ended.
    pub outcome: String,
    /// From beginning to seen end.
    pub took: Duration,
}

/// Who watches the story: a progress display, or nobody.
pub trait Audience {
    /// A step begins.
    fn begins(&mut self, title: &'static str);
    /// It has ended well.
    fn ends(&mut self, step: &Step);
}

/// Nobody watches.
impl Audience for () {
    fn begins(&mut self, _: &'static str) {}
    fn ends(&mut self, _: &Step) {}
}

/// The whole story, played.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they happened.
    pub steps: Vec<Step>,
    /// The chain's balances beside the mirrored ones.
    pub reconciliation: Reconciliation,
}

/// What a step has to tell besides its title and its time.
#[derive(Default)]
struct Told {
    payer: Option<&'static str>,
    payee: Option<&'static str>,
    amount: Option<Usdc>,
    transaction: Option<TxHash>,
    outcome: String,
}

impl Told {
    fn that(outcome: impl Into<String>) -> Self {
        Self { outcome: outcome.into(), ..Self::default() }
    }

    fn paid(payer: &'static str, payee: &'static str, amount: Usdc, transaction: TxHash, outcome: impl Into<String>) -> Self {
        let [payer, payee] = [payer, payee].map(Some);
        Self { payer, payee, amount: Some(amount), transaction: Some(transaction), outcome: outcome.into() }
    }
}

/// Plays the story on a running stack.
///
/// # Errors
/// The first step that does not hold, by its title and its reason.
pub async fn play(stack: &Stack, audience: &mut (impl Audience + Send)) -> Result<Report> {
    let mut steps = Vec::new();
    let mut cast = Cast::assemble(stack);
    macro_rules! step {
        ($title:literal, $told:expr) => {{
            audience.begins($title);
            let begun = Instant::now();
            let told: Told = anyhow::Context::context($told.await, $title)?;
            let Told { payer, payee, amount, transaction, outcome } = told;
            let step = Step { title: $title, payer, payee, amount, transaction, outcome, took: begun.elapsed() };
            audience.ends(&step);
            steps.push(step);
        }};
    }
    step!("Organisation founds a 2-of-3 treasury", organisation::found_treasury(&mut cast));
    step!("Organisation funds its treasury", organisation::fund_treasury(&cast));
    step!("Treasury creates and funds the agent's wallet", organisation::fund_wallet(&mut cast));
    step!("Seller registers and proves its wallet", purchase::register_seller(&mut cast));
    step!("Seller publishes two reports", purchase::publish(&mut cast));
    step!("Seller registers its service on chain, with a stake", onchain::register_service(&cast));
    step!("Agent discovers the small report", purchase::discover(&mut cast));
    step!("Agent pays for it by x402", purchase::buy_by_x402(&mut cast));
    step!("Agent orders the big report, money in escrow", purchase::fund_escrow(&mut cast));
    step!("Seller delivers", purchase::deliver(&mut cast));
    step!("Agent reads it and releases the money", purchase::release(&mut cast));
    step!("Agent deposits into its balance at the market", balance::deposit(&cast));
    step!("Agent buys from the balance", balance::buy(&cast));
    step!("Agent withdraws the rest", balance::withdraw(&cast));
    step!("Treasury pays two invoices in one batch", onchain::pay_invoices(&cast));
    step!("Agent overspends, the chain refuses", purchase::overspend(&cast));
    step!("Query API lists every event", reconcile::events(&cast));
    audience.begins("Chain and mirror agree");
    let begun = Instant::now();
    let reconciliation = reconcile::balances(&cast).await?;
    let outcome = format!("{} accounts, {} USDC, difference 0", reconciliation.accounts.len(), reconciliation.total);
    let told = Told::that(outcome);
    let step = Step {
        title: "Chain and mirror agree",
        payer: None,
        payee: None,
        amount: None,
        transaction: None,
        outcome: told.outcome,
        took: begun.elapsed(),
    };
    audience.ends(&step);
    steps.push(step);
    Ok(Report { steps, reconciliation })
}
