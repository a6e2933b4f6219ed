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
    words::unless_usdc,
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
    /// Most that the operator pays in any 24 hours by transaction or signed payment, in USDC; what its x402 lane carries comes on top
    #[arg(long, value_name = "USDC")]
    daily: Option<Usdc>,

    /// Most that one payment carries [default: the daily limit]
    #[arg(long, value_name = "USDC")]
    payment_max: Option<Usdc>,

    /// Above this in 24 hours the owner or approvers must approve [default: the daily limit]
    #[arg(long, value_name = "USDC")]
    approval_above: Option<Usdc>,

    /// When the operator's policy and lane end: a duration, a time, or `never`, which it is at first
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
}

/// What an operator may pay by x402, without any transaction of the wallet.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LaneLimits {
    /// x402: most that one payment carries, in USDC; without it there is no lane
    #[arg(long, value_name = "USDC")]
    lane_payment_max: Option<Usdc>,

    /// x402: how many payments a period has [default: 100]
    #[arg(long, value_name = "COUNT")]
    lane_payments: Option<u32>,

    /// x402: how long a period is, at least 10m [default: 1h]
    #[arg(long, value_name = "DURATION")]
    lane_period: Option<Span>,
}

const LANE_PAYMENTS: u32 = 100;
const LANE_PERIOD_SECONDS: u32 = 3_600;

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
        let policy = self.policy.over(None, chain.now, Some(only_allowed))?;
        let lane = self.lane.over(None, chain, self.policy.expires, Some(only_allowed))?;
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
    /// These limits, and for what they leave out those that the operator has. `None` without a daily limit.
    pub(crate) fn over(
        &self,
        current: Option<&IAgentWallet::Policy>,
        now: u64,
        only_allowed: Option<bool>,
    ) -> Result<Option<IAgentWallet::Policy>> {
        let Some(daily) = self.daily.map(values::limit).transpose()?.or(current.map(|policy| policy.dailyLimit)) else {
            if self.payment_max.is_some() || self.approval_above.is_some() {
                bail!("a policy needs a daily limit: name it with --daily");
            }
            return Ok(None);
        };
        // What stays must fit under a lower daily limit; what is named is for the contract to judge.
        let kept = |limit: Option<U56>| limit.map_or(daily, |limit| limit.min(daily));
        let (payment, approval) =
            (self.payment_max.map(values::limit).transpose()?, self.approval_above.map(values::limit).transpose()?);
        Ok(Some(IAgentWallet::Policy {
            paymentMax: payment.unwrap_or_else(|| kept(current.map(|policy| policy.paymentMax))),
            dailyLimit: daily,
            approvalAbove: approval.unwrap_or_else(|| kept(current.map(|policy| policy.approvalAbove))),
            expiresAt: end(self.expires, current.map(|policy| policy.expiresAt), now)?,
            onlyAllowed: only_allowed.unwrap_or(current.is_some_and(|policy| policy.onlyAllowed)),
        }))
    }
}

impl LaneLimits {
    /// This lane, and for what it leaves out what the operator's has. All zero without an amount.
    pub(crate) fn over(
        &self,
        current: Option<&IAgentWallet::Lane>,
        chain: &Chain,
        expires: Option<When>,
        only_allowed: Option<bool>,
    ) -> Result<IAgentWallet::Lane> {
        let payment_max = match (self.lane_payment_max, current) {
            (Some(amount), _) => U40::checked_from_limbs_slice(&[amount.base_units()]),
            (None, Some(lane)) => Some(lane.paymentMax),
            (None, None) if self.lane_payments.is_some() || self.lane_period.is_some() => {
                bail!("a lane needs the most that one payment carries: name it with --lane-payment-max")
            }
            (None, None) => return Ok(IAgentWallet::Lane::default()),
        };
        let Some(payment_max) = payment_max else {
            bail!("an x402 payment carries at most {} USDC", values::usdc(U40::MAX));
        };
        let payments = self.lane_payments.or(current.map(|lane| lane.paymentsPerPeriod.to())).unwrap_or(LANE_PAYMENTS);
        if payments > U24::MAX.to::<u32>() {
            bail!("a period has at most {} payments", U24::MAX);
        }
        let period = self.lane_period.map(|period| period.0).or(current.map(|lane| lane.periodSeconds));
        Ok(IAgentWallet::Lane {
            token: chain.deployment.usdc,
            paymentMax: payment_max,
            paymentsPerPeriod: U24::from(payments),
            periodSeconds: period.unwrap_or(LANE_PERIOD_SECONDS),
            expiresAt: end(expires, current.map(|lane| lane.expiresAt), chain.now)?,
            onlyAllowed: only_allowed.unwrap_or(current.is_some_and(|lane| lane.onlyAllowed)),
        })
    }
}

/// The end that is named, else the current one, else none.
fn end(named: Option<When>, current: Option<U40>, now: u64) -> Result<U40> {
    match current.filter(|_| named.is_none()) {
        Some(current) if current.to::<u64>() <= now => {
            bail!("it ended at {}: say until when it is good from now on, with --expires", values::utc(current.to()))
        }
        Some(current) => Ok(current),
        None => Ok(values::until(named, now)),
    }
}

/// All of a configuration, for somebody who decides whether to sign, on a chain with this USDC.
pub(crate) fn config_in_words(config: &IAgentWallet::WalletConfig, usdc: Address) -> String {
    let mut text = format!("    the wallet is owned by {}, guarded by {}\n", config.owner, somebody(config.guardian));
    if !config.approvers.is_empty() {
        let approvers = config.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text += &format!("    {} of the approvers {approvers} replace the owner\n", config.approvalsRequired);
    }
    for operator in &config.operators {
        text += &format!("    operator {}\n", operator.operator);
        for policy in &operator.policies {
            text += &format!("      {}\n{}", policy_in_words(&policy.policy), unless_usdc(policy.token, usdc));
        }
        if !operator.lane.token.is_zero() {
            text += &format!("      x402: {}\n{}", lane_in_words(&operator.lane), unless_usdc(operator.lane.token, usdc));
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
    let until = until_in_words(policy.expiresAt);
    format!("{daily} USDC a day, {payment} a payment, approval above {alone} a day{who}{until}")
}

fn until_in_words(end: U40) -> String {
    let until = values::utc(end.to());
    if until == "never" { String::new() } else { format!(", until {until}") }
}

pub(crate) fn lane_in_words(lane: &IAgentWallet::Lane) -> String {
    let who = if lane.onlyAllowed { ", to its allowlist only" } else { "" };
    let until = until_in_words(lane.expiresAt);
    let (payments, period) = (lane.paymentsPerPeriod, Span(lane.periodSeconds));
    let total = U256::from(lane.paymentMax).saturating_mul(U256::from(payments));
    // 24 hours that begin within a period touch one period more than they hold.
    let periods = U256::from(86_400_u32.div_ceil(lane.periodSeconds.max(1)) + 1);
    let (one, daily, total) = (values::usdc(lane.paymentMax), values::usdc(total.saturating_mul(periods)), values::usdc(total));
    format!(
        "{payments} payments of {one} USDC every {period}, {total} USDC in all, up to {daily} USDC in any 24 hours on top of \
         what it pays otherwise{who}{until}"
    )
}
