//! What operators may do, and stopping them.

use alloy::primitives::Address;
use anyhow::{Result, bail};
use contracts::{
    agent_wallet::{AgentWallet, IAgentWallet},
    agent_wallet_factory::IAgentWallet as Founding,
};

use super::config::{LaneLimits, OperatorLimits, PolicyLimits};
use crate::{
    chain::Target,
    values::{When, reencode},
};

/// Operators and their limits, set by the owner
#[derive(clap::Subcommand, Debug)]
pub(super) enum Operator {
    /// Add an operator
    ///
    /// Example: florin wallet operator add 0xAGENT --daily 20 --payment-max 5
    Add {
        /// The agent's key
        operator: Address,
        #[command(flatten)]
        limits: Box<OperatorLimits>,
    },
    /// Remove an operator and void all that it signed
    ///
    /// Example: florin wallet operator remove 0xAGENT
    Remove {
        /// The agent's key
        operator: Address,
    },
    /// Set limits of an operator; what is not named stays as it is
    ///
    /// Example: florin wallet operator set-policy 0xAGENT --daily 50
    SetPolicy {
        /// The agent's key
        operator: Address,
        #[command(flatten)]
        limits: PolicyLimits,
        /// Whether only recipients on the operator's allowlist are paid
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        only_allowed: Option<bool>,
    },
    /// Open an operator's x402 lane or alter it; what is not named stays as it is. Voids all that the operator signed
    ///
    /// Example: florin wallet operator set-lane 0xAGENT --lane-payment-max 0.10 --lane-payments 50
    SetLane {
        /// The agent's key
        operator: Address,
        #[command(flatten)]
        lane: LaneLimits,
        /// When the lane ends: a duration, a time or `never`
        #[arg(long, value_name = "WHEN")]
        expires: Option<When>,
        /// Whether only recipients on the operator's allowlist are paid
        #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        only_allowed: Option<bool>,
    },
    /// Close an operator's x402 lane. Voids all that the operator signed
    ///
    /// Example: florin wallet operator close-lane 0xAGENT
    CloseLane {
        /// The agent's key
        operator: Address,
    },
    /// Enter a recipient in an operator's allowlist
    ///
    /// Example: florin wallet operator allow 0xAGENT 0xSELLER
    Allow {
        /// The agent's key
        operator: Address,
        /// Who may be paid
        recipient: Address,
    },
    /// Strike a recipient from an operator's allowlist
    ///
    /// Example: florin wallet operator disallow 0xAGENT 0xSELLER
    Disallow {
        /// The agent's key
        operator: Address,
        /// Who is not to be paid any more
        recipient: Address,
    },
}

impl Operator {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (sender, wallet) = target.sender().await?;
        let token = sender.chain.deployment.usdc;
        match self {
            Self::Add { operator, limits } => {
                let config = reencode(&limits.operator(&sender.chain, operator)?)?;
                sender.send(wallet, &AgentWallet::addOperatorCall { config }).await
            }
            Self::Remove { operator } => sender.send(wallet, &AgentWallet::removeOperatorCall { operator }).await,
            Self::SetPolicy { operator, limits, only_allowed } => {
                let current = AgentWallet::new(wallet, sender.chain.provider()).policyOf(operator, token).call().await?;
                let current = (!current.expiresAt.is_zero()).then(|| reencode(&current)).transpose()?;
                let Some(policy) = limits.over(current.as_ref(), sender.chain.now, only_allowed)? else {
                    bail!("the operator has no policy yet: name at least its daily limit, with --daily");
                };
                let policy = reencode::<Founding::Policy, IAgentWallet::Policy>(&policy)?;
                sender.send(wallet, &AgentWallet::setPolicyCall { operator, token, policy }).await
            }
            Self::SetLane { operator, lane, expires, only_allowed } => {
                let current = AgentWallet::new(wallet, sender.chain.provider()).laneOf(operator).call().await?;
                // A lane of another token has amounts of that token.
                let current = (current.token == token).then(|| reencode(&current)).transpose()?;
                let lane = lane.over(current.as_ref(), &sender.chain, expires, only_allowed)?;
                if lane.token.is_zero() {
                    bail!("the operator has no lane yet: name at least what one payment carries, with --lane-payment-max");
                }
                let lane = reencode::<Founding::Lane, IAgentWallet::Lane>(&lane)?;
                sender.send(wallet, &AgentWallet::setLaneCall { operator, lane }).await
            }
            Self::CloseLane { operator } => {
                sender.send(wallet, &AgentWallet::setLaneCall { operator, lane: IAgentWallet::Lane::default() }).await
            }
            Self::Allow { operator, recipient } => {
                sender.send(wallet, &AgentWallet::setRecipientCall { operator, recipient, allowed: true }).await
            }
            Self::Disallow { operator, recipient } => {
                sender.send(wallet, &AgentWallet::setRecipientCall { operator, recipient, allowed: false }).await
            }
        }?;
        Ok(())
    }
}

/// Stop an operator, or all of them, at once; owner and guardian
///
/// Example: florin wallet freeze --all
#[derive(clap::Args, Debug)]
pub(super) struct Freeze {
    /// The agent's key
    #[arg(required_unless_present = "all")]
    operator: Option<Address>,

    /// Every operator
    #[arg(long, conflicts_with = "operator")]
    all: bool,
}

impl Freeze {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        match self.operator {
            Some(operator) => target.send(&AgentWallet::freezeCall { operator }).await,
            None => target.send(&AgentWallet::freezeAllCall {}).await,
        }
    }
}

/// Let a frozen operator pay again, by the owner; what it signed before stays void
///
/// Example: florin wallet unfreeze 0xAGENT
#[derive(clap::Args, Debug)]
pub(super) struct Unfreeze {
    /// The agent's key
    operator: Address,
}

impl Unfreeze {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        target.send(&AgentWallet::unfreezeCall { operator: self.operator }).await
    }
}

/// Void everything that an operator signed, by the owner; its x402 lane begins the current period anew
///
/// Example: florin wallet void 0xAGENT
#[derive(clap::Args, Debug)]
pub(super) struct Void {
    /// The agent's key
    operator: Address,
}

impl Void {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        target.send(&AgentWallet::bumpEpochCall { operator: self.operator }).await
    }
}
