use std::str::FromStr;

use alloy::primitives::{Address, B256, aliases::U56};
use anyhow::Result;
use contracts::treasury_factory::{ITreasury, TreasuryFactory};
use money::Usdc;
use serde_json::json;

use super::policy;
use crate::{
    chain::{Target, readable},
    values::{self, Span},
};

/// Create a treasury; its address commits to everything it starts with
///
/// Example: florin treasury create --owner 0xA --owner 0xB --owner 0xC --threshold 2 --policy owners:daily=10000
#[derive(clap::Args, Debug)]
pub(super) struct Create {
    /// An owner; once for each
    #[arg(long = "owner", value_name = "ADDRESS", required = true)]
    owners: Vec<Address>,

    /// How many owners decide
    #[arg(long, value_name = "COUNT")]
    threshold: u16,

    /// Who may pause and stop changes, and nothing else; once for each
    #[arg(long = "guardian", value_name = "ADDRESS")]
    guardians: Vec<Address>,

    /// How long a change waits before it is executed, from 1h to 30d
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    change_delay: Span,

    /// How long a new recipient of an allowlist waits before it is paid
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    recipient_cooldown: Span,

    /// What a spender may move, once for each: `SPENDER:daily=100,order=50,alone=20,only=0xA+0xB`
    ///
    /// SPENDER is an address, or `owners` for what the owners move together. `daily` is the most in 24 hours; `order` the most in one order
    /// (as much as `daily` if left out); `alone` what it moves in 24 hours without the owners (nothing if left out); `only` the recipients it
    /// may pay (anybody if left out).
    #[arg(long = "policy", value_name = "POLICY", verbatim_doc_comment)]
    policies: Vec<Grant>,

    /// Text that tells treasuries of equal configuration apart
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
    salt: B256,
}

#[derive(Clone, Debug)]
struct Grant {
    spender: Address,
    policy: ITreasury::Policy,
    recipients: Vec<Address>,
}

#[derive(Debug, thiserror::Error)]
#[error("a policy is written as SPENDER:daily=100,order=50,alone=20,only=0xA+0xB, where only `daily` is needed: {0}")]
struct BadGrant(String);

impl FromStr for Grant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        let bad = |why: &dyn ToString| BadGrant(why.to_string());
        let (spender, limits) = text.split_once(':').ok_or_else(|| bad(&"the colon after the spender is missing"))?;
        let (mut daily, mut order, mut alone, mut only) = (None, None, None, None);
        for limit in limits.split(',') {
            let (name, value) = limit.split_once('=').ok_or_else(|| bad(&format!("{limit:?} has no =")))?;
            let amount = || -> Result<U56, BadGrant> {
                values::limit(value.parse::<Usdc>().map_err(|error| bad(&error))?).map_err(|error| bad(&error))
            };
            match name {
                "daily" => daily = Some(amount()?),
                "order" => order = Some(amount()?),
                "alone" => alone = Some(amount()?),
                "only" => {
                    let read: Result<Vec<Address>, _> = value.split('+').map(str::parse).collect();
                    only = Some(read.map_err(|_| bad(&format!("{value:?} are no addresses joined by +")))?);
                }
                _ => return Err(bad(&format!("{name:?} is none of daily, order, alone, only"))),
            }
        }
        let daily = daily.ok_or_else(|| bad(&"`daily` is missing"))?;
        let policy = ITreasury::Policy {
            dailyLimit: daily,
            orderMax: order.unwrap_or(daily),
            approvalAbove: alone.unwrap_or_default(),
            onlyAllowed: only.is_some(),
        };
        Ok(Self { spender: policy::spender(spender).map_err(|error| bad(&error))?, policy, recipients: only.unwrap_or_default() })
    }
}

impl Create {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let sender = target.options.sender().await?;
        let (factory, token) = (sender.chain.deployment.treasury_factory, sender.chain.deployment.usdc);
        let grants = self.policies.into_iter().map(|grant| ITreasury::Grant {
            spender: grant.spender,
            token,
            policy: grant.policy,
            recipients: grant.recipients,
        });
        let config = ITreasury::Config {
            owners: self.owners,
            threshold: self.threshold,
            guardians: self.guardians,
            changeDelay: self.change_delay.0,
            recipientCooldown: self.recipient_cooldown.0,
            grants: grants.collect(),
            salt: self.salt,
        };
        let factory_contract = TreasuryFactory::new(factory, sender.chain.provider());
        let treasury = factory_contract.addressOf(config.clone()).call().await.map_err(readable)?;
        sender.send(factory, &TreasuryFactory::createCall { config }).await?;
        target.options.answer(&json!({ "treasury": treasury }), &format!("treasury {treasury}"));
        Ok(())
    }
}
