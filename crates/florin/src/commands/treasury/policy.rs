//! Narrowing what a spender may do: at once, by any owner or guardian. Widening is in `change`.

use alloy::primitives::{Address, aliases::U56};
use anyhow::{Result, bail};
use contracts::treasury::{ITreasury, Treasury as Contract};
use money::Usdc;

use crate::{
    chain::{Chain, Target},
    values,
};

/// Narrow a spender's policy at once, by an owner or a guardian; widening takes a change
#[derive(clap::Subcommand, Debug)]
pub(super) enum Policy {
    /// Lower limits; what is not named stays as it is
    ///
    /// Example: florin treasury policy lower 0xSPENDER --daily 100 --without-owners 0
    Lower {
        /// Whose policy; `owners` for the owners' own budget
        #[arg(value_parser = spender)]
        spender: Address,
        #[command(flatten)]
        limits: Limits,
    },
    /// Take a spender's policy away: it can spend nothing any more
    ///
    /// Example: florin treasury policy remove 0xSPENDER
    Remove {
        /// Whose policy; `owners` for the owners' own budget
        #[arg(value_parser = spender)]
        spender: Address,
    },
    /// Strike a recipient from a spender's allowlist
    ///
    /// Example: florin treasury policy disallow 0xSPENDER 0xRECIPIENT
    Disallow {
        /// Whose policy; `owners` for the owners' own budget
        #[arg(value_parser = spender)]
        spender: Address,
        /// Who is not to be paid any more
        recipient: Address,
    },
}

/// The limits of a policy.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Limits {
    /// Most that leaves in any 24 hours, in USDC
    #[arg(long, value_name = "USDC")]
    daily: Option<Usdc>,

    /// Most that one order moves [default: the daily limit]
    #[arg(long, value_name = "USDC")]
    order: Option<Usdc>,

    /// Most that the spender moves in 24 hours without the owners [default: 0]
    #[arg(long, value_name = "USDC")]
    without_owners: Option<Usdc>,

    /// Whether only recipients on the allowlist are paid [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    only_allowed: Option<bool>,
}

impl Policy {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, treasury) = target.sender().await?;
        let token = sender.chain.deployment.usdc;
        match self {
            Self::Lower { spender, limits } => {
                let policy = limits.over(&sender.chain, treasury, spender).await?;
                sender.send(treasury, &Contract::lowerPolicyCall { spender, token, policy }).await
            }
            Self::Remove { spender } => sender.send(treasury, &Contract::removePolicyCall { spender, token }).await,
            Self::Disallow { spender, recipient } => {
                sender.send(treasury, &Contract::removeRecipientCall { spender, token, recipient }).await
            }
        }?;
        Ok(())
    }
}

impl Limits {
    /// These limits, and for what they leave out those that the spender has.
    pub(super) async fn over(&self, chain: &Chain, treasury: Address, spender: Address) -> Result<ITreasury::Policy> {
        let now = Contract::new(treasury, chain.provider()).policyOf(spender, chain.deployment.usdc).call().await?;
        let current = now.active.then_some(now.policy);
        let Some(daily) = self.daily.map(values::limit).transpose()?.or(current.as_ref().map(|policy| policy.dailyLimit)) else {
            bail!("the spender has no policy yet: name at least its daily limit, with --daily");
        };
        // What stays must fit under a lower daily limit; what is named is for the contract to judge.
        let keep = |limit: U56| limit.min(daily);
        let (order, alone) = (self.order.map(values::limit).transpose()?, self.without_owners.map(values::limit).transpose()?);
        Ok(ITreasury::Policy {
            dailyLimit: daily,
            orderMax: order.unwrap_or_else(|| current.as_ref().map_or(daily, |policy| keep(policy.orderMax))),
            approvalAbove: alone.unwrap_or_else(|| current.as_ref().map_or(U56::ZERO, |policy| keep(policy.approvalAbove))),
            onlyAllowed: self.only_allowed.unwrap_or(current.is_some_and(|policy| policy.onlyAllowed)),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a spender is an address, or `owners` for the owners' own budget")]
pub(super) struct NoSpender;

/// An address, or the owners' own budget.
pub(super) fn spender(text: &str) -> Result<Address, NoSpender> {
    if text == "owners" { Ok(Address::ZERO) } else { text.parse().map_err(|_| NoSpender) }
}
