//! `florin subscription`: payments that recur.

use std::process::ExitCode;

use alloy::{
    primitives::{Address, B256, aliases::U40, aliases::U96},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use anyhow::{Result, bail, ensure};
use contracts::{
    Contract as Kind, Event,
    payment_router::{
        ISubscriptions::SubscriptionTerms,
        PaymentRouter::{self as Contract, PaymentRouterEvents, SubscriptionCreated},
    },
    signing::router as signing,
};
use money::Usdc;
use serde_json::json;

use super::router::uint96;
use crate::{
    chain::{Chain, ChainOptions},
    values::{self, Span, When, reencode, usdc, utc},
    words::unless_usdc,
};

/// Payments that recur: the payer subscribes and can always cancel, anybody charges what is due, at most one price a period
#[derive(clap::Args, Debug)]
pub(crate) struct Subscription {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Create(Box<Create>),
    /// Show a subscription: what was charged, what is due, when the next period begins
    ///
    /// Example: florin subscription show 0xID
    Show {
        /// The subscription's id
        id: B256,
    },
    /// Charge every period that is due, from payer to payee; anybody can
    ///
    /// Example: florin subscription charge 0xID
    Charge {
        /// The subscription's id
        id: B256,
    },
    /// Cancel, as payer or payee
    ///
    /// Example: florin subscription cancel 0xID --at-period-end
    Cancel {
        /// The subscription's id
        id: B256,
        /// Let what is due until the end of the current period still be charged
        #[arg(long)]
        at_period_end: bool,
    },
    /// Lower the price of all periods not yet charged, as the payee
    ///
    /// Example: florin subscription lower-price 0xID --price 8
    LowerPrice {
        /// The subscription's id
        id: B256,
        /// The price of a period, in USDC
        #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
        price: Usdc,
    },
}

/// Subscribe as the payer; the current period is charged at once unless there is a trial
///
/// Example: florin subscription create --payee 0xSELLER --price 10 --period 30d --total-max 120
#[derive(clap::Args, Debug)]
struct Create {
    /// Who is paid
    #[arg(long, value_name = "ADDRESS")]
    payee: Address,

    /// Price of a period, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    price: Usdc,

    /// How long a period is
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    period: Span,

    /// Most that is charged over the life of the subscription, in USDC; the router is allowed to take this much more
    #[arg(long, value_name = "USDC")]
    total_max: Usdc,

    /// How long nothing is charged at the beginning
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    trial: Span,

    /// When it begins: a duration or a time [default: now]
    #[arg(long, value_name = "WHEN")]
    start: Option<When>,

    /// How many missed periods a charge may include
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    catch_up: u16,
}

impl Subscription {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let options = &self.chain;
        let id = match self.action {
            Action::Create(command) => return command.run(options).await,
            Action::Show { id } => return show(id, options).await,
            Action::Charge { id } | Action::Cancel { id, .. } | Action::LowerPrice { id, .. } => id,
        };
        let sender = options.sender().await?;
        let terms = find(id, &sender.chain).await?;
        let router = sender.chain.deployment.payment_router;
        match self.action {
            Action::Cancel { at_period_end, .. } => {
                sender.send(router, &Contract::cancelCall { terms, atPeriodEnd: at_period_end }).await
            }
            Action::LowerPrice { price, .. } => {
                sender.send(router, &Contract::lowerPriceCall { terms, price: uint96(price) }).await
            }
            _ => sender.send(router, &Contract::chargeCall { terms }).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(&self, options: &ChainOptions) -> Result<ExitCode> {
        let sender = options.sender().await?;
        let (chain, router) = (&sender.chain, sender.chain.deployment.payment_router);
        let terms = SubscriptionTerms {
            payer: sender.address(),
            payee: self.payee,
            token: chain.deployment.usdc,
            amount: uint96(self.price),
            totalMax: uint96(self.total_max),
            start: U40::saturating_from(self.start.map_or(chain.now, |start| start.from(chain.now))),
            trial: self.trial.0,
            period: self.period.0,
            catchUpMax: self.catch_up,
            salt: values::fresh().into(),
        };
        let id = id_of(&terms, chain)?;
        eprintln!("subscription {id}");
        if sender.allow_more(router, self.total_max).await? {
            sender.send(router, &Contract::subscribeCall { terms }).await?;
            options.answer(&json!({ "subscription": id }), &format!("subscription {id}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn show(id: B256, options: &ChainOptions) -> Result<ExitCode> {
    let chain = options.connect().await?;
    let terms = find(id, &chain).await?;
    let contract = Contract::new(chain.deployment.payment_router, chain.provider());
    let (state, due) = (contract.subscriptionOf(id).call().await?, contract.due(terms.clone()).call().await?);
    let begin = |period: u32| terms.start.to::<u64>() + u64::from(terms.trial) + u64::from(period) * u64::from(terms.period);
    let (price, charged, due_amount) = (usdc(state.price), usdc(state.charged), usdc(due.amount));
    let total_max =
        if terms.totalMax == U96::MAX { "without limit".to_owned() } else { format!("of at most {}", usdc(terms.totalMax)) };
    let next = if state.nextPeriod >= state.endPeriod {
        "it is over".to_owned()
    } else if due.periods.is_zero() {
        format!("nothing is due; the next period begins {}", utc(begin(state.nextPeriod)))
    } else {
        format!("{} periods are due, {due_amount} USDC: anybody can charge them now", due.periods)
    };
    let text = format!(
        "subscription {id}\n  {} pays {} {price} USDC every {}\n  charged {charged} USDC {total_max}\n  {next}\n",
        terms.payer,
        terms.payee,
        Span(terms.period)
    ) + &unless_usdc(terms.token, chain.deployment.usdc);
    let facts = json!({
        "subscription": id,
        "payer": terms.payer,
        "payee": terms.payee,
        "token": terms.token,
        "price": price,
        "periodSeconds": terms.period,
        "charged": charged,
        "totalMax": usdc(terms.totalMax),
        "duePeriods": due.periods.to_string(),
        "due": due_amount,
        "nextPeriodAt": begin(state.nextPeriod),
        "over": state.nextPeriod >= state.endPeriod,
    });
    options.answer(&facts, &text);
    Ok(ExitCode::SUCCESS)
}

/// The id of a subscription: the digest of its terms.
fn id_of(terms: &SubscriptionTerms, chain: &Chain) -> Result<B256> {
    Ok(signing::subscription_id(&reencode(terms)?, chain.deployment.payment_router, chain.id()))
}

/// The terms of a subscription, as it was created.
async fn find(id: B256, chain: &Chain) -> Result<SubscriptionTerms> {
    let router = chain.deployment.payment_router;
    if router.is_zero() {
        bail!("there is no payment router on chain {}", chain.id());
    }
    let filter = Filter::new().address(router).event_signature(SubscriptionCreated::SIGNATURE_HASH).topic1(id);
    for event in chain.events(Kind::PaymentRouter, filter).await? {
        if let Event::PaymentRouter(PaymentRouterEvents::SubscriptionCreated(told)) = event {
            // The id commits to the terms, so that no node can put others in their place.
            ensure!(id_of(&told.terms, chain)? == id, "the node gives other terms for the subscription {id}: do not trust it");
            return Ok(told.terms);
        }
    }
    bail!("there is no subscription {id} on chain {}", chain.id())
}
