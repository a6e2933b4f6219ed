//! What a wallet and its operators begin with, from flags.

use alloy::primitives::{
    Address, B256, U256,
    aliases::{U24, U40, U56},
};
use anyhow::{Result, bail};
use contracts::agent_wallet_factory::{AgentWalletFactory, IAgentWallet};
use money::Usdc;

use crate::{
    chain::{Chain, readable},
    values::{self, Span, When},
};

/// A wallet's configuration without its owner.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Configuration {
    /// Who may freeze operators and recover a lost owner
    #[arg(long, value_name = "ADDRESS")]
    guardian: Option<Address>,

    /// Who may approve large payments in the owner's place; once for each
    #[arg(long = "approver", value_name = "ADDRESS", requires = "approvals")]
    approvers: Vec<Address>,

    /// How many approvers replace the owner
    #[arg(long, value_name = "COUNT", requires = "approvers")]
    approvals: Option<u8>,

    /// The agent's key: may pay within the limits below
    #[arg(long, value_name = "ADDRESS")]
    operator: Option<Address>,

    #[command(flatten)]
    limits: OperatorLimits,

    /// Text that tells wallets of equal configuration apart
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = values::reference)]
    salt: B256,
}

/// What an operator begins with.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct OperatorLimits {
    #[command(flatten)]
    policy: PolicyLimits,

    /// A recipient of the allowlist: with it the operator pays only these; once for each
    #[arg(long = "only", value_name = "ADDRESS")]
    recipients: Vec<Address>,

    #[command(flatten)]
    lane: LaneLimits,
}

/// What an operator may pay by transaction or signed payment.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PolicyLimits {
    /// Most that the operator pays in any 24 hours, in USDC; without it, it pays by x402 only
    #[arg(long, value_name = "USDC")]
    daily: Option<Usdc>,

    /// Most that one payment carries [default: the daily limit]
    #[arg(long, value_name = "USDC")]
    payment_max: Option<Usdc>,

    /// Above this in 24 hours the owner or approvers must approve [default: the daily limit]
    #[arg(long, value_name = "USDC")]
    approval_above: Option<Usdc>,

    /// When the operator's policy and lane end: a duration or a time [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
}

/// What an operator may pay by x402, without any transaction of the wallet.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LaneLimits {
    /// x402: most that one payment carries, in USDC; without it there is no lane
    #[arg(long, value_name = "USDC")]
    lane_payment_max: Option<Usdc>,

    /// x402: how many payments a period has
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    lane_payments: u32,

    /// x402: how long a period is, at least 10m
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    lane_period: Span,
}

impl Configuration {
    /// The configuration with an owner, and the address of its wallet.
    pub(crate) async fn for_owner(&self, chain: &Chain, owner: Address) -> Result<(IAgentWallet::WalletConfig, Address)> {
        let operators = self.operator.map(|operator| self.limits.operator(chain, operator)).transpose()?;
        if operators.is_none() && (self.limits.policy.daily.is_some() || self.limits.lane.lane_payment_max.is_some()) {
            bail!("whose limits are these? Name the agent's key with --operator");
        }
        let config = IAgentWallet::WalletConfig {
            owner,
            guardian: self.guardian.unwrap_or_default(),
            approvers: self.approvers.clone(),
            approvalsRequired: self.approvals.unwrap_or_default(),
            operators: operators.into_iter().collect(),
            salt: self.salt,
        };
        let factory = AgentWalletFactory::new(chain.deployment.agent_wallet_factory, chain.provider());
        let wallet = factory.walletAddress(config.clone()).call().await.map_err(readable)?;
        Ok((config, wallet))
    }
}

impl OperatorLimits {
    pub(crate) fn operator(&self, chain: &Chain, operator: Address) -> Result<IAgentWallet::OperatorConfig> {
        let token = chain.deployment.usdc;
        let only_allowed = !self.recipients.is_empty();
        let policy = self.policy.policy(chain.now, only_allowed)?;
        let lane = self.lane.lane(chain, self.policy.expires, only_allowed)?;
        if policy.is_none() && lane.token.is_zero() {
            bail!("the operator could pay nothing: name --daily, --lane-payment-max, or both");
        }
        Ok(IAgentWallet::OperatorConfig {
            operator,
            policies: policy.into_iter().map(|policy| IAgentWallet::TokenPolicy { token, policy }).collect(),
            recipients: self.recipients.clone(),
            lane,
        })
    }
}

impl PolicyLimits {
    /// `None` without a daily limit.
    pub(crate) fn policy(&self, now: u64, only_allowed: bool) -> Result<Option<IAgentWallet::Policy>> {
        let Some(daily) = self.daily else {
            if self.payment_max.is_some() || self.approval_above.is_some() {
                bail!("a policy needs a daily limit: name it with --daily");
            }
            return Ok(None);
        };
        Ok(Some(IAgentWallet::Policy {
            paymentMax: values::limit(self.payment_max.unwrap_or(daily))?,
            dailyLimit: values::limit(daily)?,
            approvalAbove: values::limit(self.approval_above.unwrap_or(daily))?,
            expiresAt: values::until(self.expires, now),
            onlyAllowed: only_allowed,
        }))
    }
}

impl LaneLimits {
    /// All zero without an amount.
    pub(crate) fn lane(&self, chain: &Chain, expires: Option<When>, only_allowed: bool) -> Result<IAgentWallet::Lane> {
        let Some(payment_max) = self.lane_payment_max else { return Ok(IAgentWallet::Lane::default()) };
        let units = payment_max.base_units();
        if units > U40::MAX.to::<u64>() {
            bail!("an x402 payment carries at most {} USDC", values::usdc(U40::MAX));
        }
        if self.lane_payments > U24::MAX.to::<u32>() {
            bail!("a period has at most {} payments", U24::MAX);
        }
        Ok(IAgentWallet::Lane {
            token: chain.deployment.usdc,
            paymentMax: U40::from(units),
            paymentsPerPeriod: U24::from(self.lane_payments),
            periodSeconds: self.lane_period.0,
            expiresAt: values::until(expires, chain.now),
            onlyAllowed: only_allowed,
        })
    }
}

/// All of a configuration, for somebody who decides whether to sign.
pub(crate) fn config_in_words(config: &IAgentWallet::WalletConfig) -> String {
    let mut text = format!("    the wallet is owned by {}, guarded by {}\n", config.owner, somebody(config.guardian));
    if !config.approvers.is_empty() {
        let approvers = config.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text += &format!("    {} of the approvers {approvers} replace the owner\n", config.approvalsRequired);
    }
    for operator in &config.operators {
        text += &format!("    operator {}\n", operator.operator);
        for policy in &operator.policies {
            text += &format!("      {} of token {}\n", policy_in_words(&policy.policy), policy.token);
        }
        if !operator.lane.token.is_zero() {
            text += &format!("      x402: {} of token {}\n", lane_in_words(&operator.lane), operator.lane.token);
        }
        for recipient in &operator.recipients {
            text += &format!("      may pay {recipient}\n");
        }
    }
    text
}

pub(crate) fn somebody(account: Address) -> String {
    if account.is_zero() { "nobody".to_owned() } else { account.to_string() }
}

pub(crate) fn policy_in_words(policy: &IAgentWallet::Policy) -> String {
    let amount = |limit: U56| values::usdc(limit);
    let (daily, payment, alone) = (amount(policy.dailyLimit), amount(policy.paymentMax), amount(policy.approvalAbove));
    let who = if policy.onlyAllowed { ", to its allowlist only" } else { "" };
    let until = values::utc(policy.expiresAt.to());
    let until = if until == "never" { String::new() } else { format!(", until {until}") };
    format!("{daily} USDC a day, {payment} a payment, approval above {alone} a day{who}{until}")
}

pub(crate) fn lane_in_words(lane: &IAgentWallet::Lane) -> String {
    let who = if lane.onlyAllowed { ", to its allowlist only" } else { "" };
    let (payments, period) = (lane.paymentsPerPeriod, Span(lane.periodSeconds));
    let total = values::usdc(U256::from(lane.paymentMax).saturating_mul(U256::from(payments)));
    format!("{payments} payments of {} USDC every {period}, {total} USDC in all{who}", values::usdc(lane.paymentMax))
}
