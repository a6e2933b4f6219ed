//! `florin router`: payments that pass through, with a record.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use alloy::{
    primitives::{Address, B256, aliases::U96},
    sol_types::SolError,
};
use anyhow::{Context, Result, bail};
use contracts::{
    ContractError,
    payment_router::{IPaymentRouter, PaymentRouter as Contract},
};
use money::Usdc;

use super::payees;
use crate::{
    chain::{ChainOptions, Sender, SignedPermit, readable},
    values,
};

/// How long a permit made for a transaction can be used.
const PERMIT_SECONDS: u64 = 3_600;

/// Pay through the router: one payment with a record on chain, many at once, one in shares
#[derive(clap::Args, Debug)]
pub(crate) struct Router {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    chain: ChainOptions,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Pay somebody once per payment id, with a record that contracts can ask for
    ///
    /// Example: florin router pay --to 0xSELLER --amount 12.50 --id "order 4711"
    Pay {
        /// Who is paid
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        /// How much, in USDC
        #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
        amount: Usdc,
        /// Payment id: text or 32 bytes in hex; one id is paid once [default: a fresh one, printed]
        #[arg(long, value_name = "ID", value_parser = values::reference)]
        id: Option<B256>,
    },
    /// Pay many in one transaction, from a CSV file with the lines `address,amount`; whom the token refuses can withdraw later
    ///
    /// Example: florin router batch payroll.csv --reference june
    Batch {
        /// Lines of `address,amount`
        file: PathBuf,
        /// Reference of the batch, for the books
        #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
        reference: B256,
    },
    /// Pay an amount in shares; what rounding leaves goes to the first
    ///
    /// Example: florin router split --amount 100 --share 0xA=9000 --share 0xB=1000
    Split {
        /// How much in all, in USDC
        #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
        amount: Usdc,
        /// A payee and its share in basis points, `ADDRESS=BPS`; together 10000
        #[arg(long = "share", value_name = "SHARE", required = true)]
        shares: Vec<Share>,
        /// Reference, for the books
        #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
        reference: B256,
    },
    /// Pull what the token refused to pay to you, to an address of your choice
    ///
    /// Example: florin router withdraw --to 0xME
    Withdraw {
        /// Who gets it
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
    },
}

/// A payee and its basis points.
#[derive(Clone, Copy, Debug)]
struct Share {
    payee: Address,
    bps: u16,
}

#[derive(Debug, thiserror::Error)]
#[error("a share is written as ADDRESS=BPS, 2500 for a quarter")]
struct BadShare;

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let (payee, bps) = text.split_once('=').ok_or(BadShare)?;
        Ok(Self { payee: payee.parse().map_err(|_| BadShare)?, bps: bps.parse().map_err(|_| BadShare)? })
    }
}

impl Router {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let sender = self.chain.sender().await?;
        let deployment = &sender.chain.deployment;
        let (router, token) = (deployment.payment_router, deployment.usdc);
        if router.is_zero() {
            bail!("there is no payment router on chain {}", sender.chain.id());
        }
        match self.action {
            Action::Pay { to, amount, id } => {
                let id = id.unwrap_or_else(values::fresh_id);
                not_paid(&sender, id).await?;
                if sender.allow_more(router, amount).await? {
                    let call = Contract::payCall { paymentId: id, token, payee: to, amount: amount.into() };
                    sender.send(router, &call).await?;
                }
            }
            Action::Batch { file, reference } => {
                let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let payees = payees::read(&text).with_context(|| format!("{} is no batch", file.display()))?;
                let total = payees.iter().try_fold(Usdc::ZERO, |sum, payee| sum.checked_add(payee.amount));
                let total = total.context("that is more USDC than there is")?;
                if payees.iter().any(|payee| !payee.reference.is_zero()) {
                    bail!("a batch of the router has one reference, named with --reference, and none per line");
                }
                let leg = |payee: &payees::Payee| IPaymentRouter::Leg { payee: payee.to, amount: uint96(payee.amount) };
                let legs: Vec<_> = payees.iter().map(leg).collect();
                if let Some(permit) = permit(&sender, total).await? {
                    sender.send(router, &Contract::batchPayWithPermitCall { paymentRef: reference, token, legs, permit }).await?;
                } else if sender.allow_more(router, total).await? {
                    sender.send(router, &Contract::batchPayCall { paymentRef: reference, token, legs }).await?;
                }
            }
            Action::Split { amount, shares, reference } => {
                let shares: Vec<_> =
                    shares.iter().map(|share| IPaymentRouter::Share { payee: share.payee, bps: share.bps }).collect();
                let value = amount.into();
                if let Some(permit) = permit(&sender, amount).await? {
                    let call = Contract::splitPayWithPermitCall { paymentRef: reference, token, amount: value, shares, permit };
                    sender.send(router, &call).await?;
                } else if sender.allow_more(router, amount).await? {
                    sender.send(router, &Contract::splitPayCall { paymentRef: reference, token, amount: value, shares }).await?;
                }
            }
            Action::Withdraw { to } => drop(sender.send(router, &Contract::withdrawCall { token, to }).await?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses a payment that was made, before anything is allowed for it.
async fn not_paid(sender: &Sender, id: B256) -> Result<()> {
    let (payer, router) = (sender.address(), sender.chain.deployment.payment_router);
    if sender.prints_calldata() {
        return Ok(());
    }
    sender.chain.expect_contract(router, "contract").await?;
    let record = Contract::new(router, sender.chain.provider()).paymentRecord(payer, id).call().await.map_err(readable)?;
    if record.is_zero() {
        return Ok(());
    }
    let refusal = Contract::PaymentExecuted { payer, paymentId: id };
    bail!("refused: {}", ContractError::decode(&refusal.abi_encode()))
}

/// A permit for the router over exactly `amount`. None where it would replace an allowance that subscriptions are charged from, and none
/// when calls are only printed.
async fn permit(sender: &Sender, amount: Usdc) -> Result<Option<IPaymentRouter::Permit>> {
    let router = sender.chain.deployment.payment_router;
    if sender.prints_calldata() || !sender.allowance(router).await?.is_zero() {
        return Ok(None);
    }
    let SignedPermit { deadline, v, r, s } = sender.permit(router, amount, sender.chain.now + PERMIT_SECONDS).await?;
    Ok(Some(IPaymentRouter::Permit { deadline, v, r, s }))
}

pub(super) fn uint96(amount: Usdc) -> U96 {
    U96::from(amount.base_units())
}
