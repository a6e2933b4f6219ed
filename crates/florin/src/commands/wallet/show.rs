use std::collections::BTreeSet;

use alloy::{primitives::Address, providers::Provider, rpc::types::Filter};
use anyhow::{Context, Result};
use contracts::{
    Contract, Event,
    agent_wallet::{AgentWallet, IAgentWallet},
    usdc::Usdc as Token,
};
use money::Usdc;
use serde_json::{Value, json};

use super::config::{lane_in_words, policy_in_words, somebody};
use crate::{
    chain::{Chain, Target},
    values::{self, reencode},
    words::unless_usdc,
};

/// No more payments of a lane are looked for.
const SLOTS_MAX: u32 = 1_000;

/// Show owner, balance, operators, their limits and what is left of them
///
/// Example: florin wallet show
#[derive(clap::Args, Debug)]
pub(super) struct Show {}

impl Show {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, wallet) = target.connect().await?;
        let state = State::read(&chain, wallet).await?;
        target.options.answer(&state.json(&chain), &state.text(&chain)?);
        Ok(())
    }
}

/// A wallet at the newest block.
struct State {
    wallet: Address,
    balance: Usdc,
    owner: Address,
    pending_owner: Address,
    guardian: Address,
    recovery: Option<(Address, u64)>,
    approvers: Vec<Address>,
    approvals_required: u8,
    operators: Vec<OperatorState>,
}

struct OperatorState {
    operator: Address,
    known: IAgentWallet::Operator,
    policy: Option<IAgentWallet::Policy>,
    remaining: Usdc,
    lane: Option<IAgentWallet::Lane>,
    slots_used: u32,
    recipients: Vec<Address>,
}

impl State {
    async fn read(chain: &Chain, wallet: Address) -> Result<Self> {
        let contract = AgentWallet::new(wallet, chain.provider());
        let owner = contract.owner().call().await.context("this is no agent's wallet")?;
        let mentioned = Mentioned::by(&chain.events(Contract::AgentWallet, Filter::new().address(wallet)).await?);
        let mut approvers = Vec::new();
        for approver in mentioned.approvers {
            if contract.isApprover(approver).call().await? {
                approvers.push(approver);
            }
        }
        let mut operators = Vec::new();
        for operator in contract.operators().call().await? {
            operators.push(OperatorState::read(chain, &contract, operator, &mentioned.recipients).await?);
        }
        let recovery = contract.recovery().call().await?;
        Ok(Self {
            wallet,
            balance: chain.balance(wallet).await?,
            owner,
            pending_owner: contract.pendingOwner().call().await?,
            guardian: contract.guardian().call().await?,
            recovery: (!recovery.newOwner.is_zero()).then(|| (recovery.newOwner, recovery.readyAt.to())),
            approvers,
            approvals_required: contract.approvalRule().call().await?.approvalsRequired,
            operators,
        })
    }

    fn text(&self, chain: &Chain) -> Result<String> {
        let mut text = format!("wallet {} on chain {}\nbalance {} USDC\n", self.wallet, chain.id(), self.balance);
        text += &format!("owner {}, guardian {}\n", self.owner, somebody(self.guardian));
        if !self.pending_owner.is_zero() {
            text += &format!("offered to {}, who has not accepted yet\n", self.pending_owner);
        }
        if let Some((new_owner, ready_at)) = self.recovery {
            text +=
                &format!("RECOVERY: {new_owner} can take it over from {} on, unless the owner objects\n", values::utc(ready_at));
        }
        if self.approvals_required > 0 {
            text += &format!("{} of {} approvers replace the owner\n", self.approvals_required, self.approvers.len());
            self.approvers.iter().for_each(|approver| text += &format!("  {approver}\n"));
        }
        text += &format!("{} operators\n", self.operators.len());
        for state in &self.operators {
            text += &state.text(chain.deployment.usdc)?;
        }
        Ok(text)
    }

    fn json(&self, chain: &Chain) -> Value {
        json!({
            "wallet": self.wallet,
            "chainId": chain.id(),
            "balance": self.balance,
            "owner": self.owner,
            "pendingOwner": self.pending_owner,
            "guardian": self.guardian,
            "recovery": self.recovery.map(|(new_owner, ready_at)| json!({ "newOwner": new_owner, "readyAt": ready_at })),
            "approvers": self.approvers,
            "approvalsRequired": self.approvals_required,
            "operators": self.operators.iter().map(OperatorState::json).collect::<Vec<_>>(),
        })
    }
}

impl OperatorState {
    async fn read<P: Provider>(
        chain: &Chain,
        contract: &AgentWallet::AgentWalletInstance<P>,
        operator: Address,
        mentioned: &BTreeSet<Address>,
    ) -> Result<Self> {
        let token = chain.deployment.usdc;
        let policy = contract.policyOf(operator, token).call().await?;
        let lane = Some(contract.laneOf(operator).call().await?).filter(|lane| !lane.token.is_zero());
        let mut recipients = Vec::new();
        for &recipient in mentioned {
            if contract.isRecipient(operator, recipient).call().await? {
                recipients.push(recipient);
            }
        }
        let slots_used = match &lane {
            Some(lane) => slots_used(chain, contract, operator, lane).await?,
            None => 0,
        };
        Ok(Self {
            operator,
            known: contract.operatorOf(operator).call().await?,
            policy: (!policy.expiresAt.is_zero()).then_some(policy),
            remaining: values::usdc(contract.remaining(operator, token).call().await?),
            lane,
            slots_used,
            recipients,
        })
    }

    fn text(&self, usdc: Address) -> Result<String> {
        let frozen = if self.known.frozen { ", FROZEN" } else { "" };
        let mut text = format!("  {}{frozen}, epoch {}\n", self.operator, self.known.epoch);
        match &self.policy {
            Some(policy) => {
                text += &format!("    {}\n", policy_in_words(&reencode(policy)?));
                text += &format!("    left now {} USDC\n", self.remaining);
            }
            None => text += "    pays nothing by transaction\n",
        }
        if let Some(lane) = &self.lane {
            let left = lane.paymentsPerPeriod.to::<u32>().saturating_sub(self.slots_used);
            text += &format!("    x402: {}; {left} payments left in this period\n", lane_in_words(&reencode(lane)?));
            text += &unless_usdc(lane.token, usdc);
        }
        self.recipients.iter().for_each(|recipient| text += &format!("    may pay {recipient}\n"));
        Ok(text)
    }

    fn json(&self) -> Value {
        let policy = self.policy.as_ref().map(|policy| {
            json!({
                "paymentMax": values::usdc(policy.paymentMax),
                "dailyLimit": values::usdc(policy.dailyLimit),
                "approvalAbove": values::usdc(policy.approvalAbove),
                "expiresAt": policy.expiresAt.to::<u64>(),
                "onlyAllowed": policy.onlyAllowed,
                "remaining": self.remaining,
            })
        });
        let lane = self.lane.as_ref().map(|lane| {
            json!({
                "token": lane.token,
                "paymentMax": values::usdc(lane.paymentMax),
                "paymentsPerPeriod": lane.paymentsPerPeriod.to::<u32>(),
                "periodSeconds": lane.periodSeconds,
                "expiresAt": lane.expiresAt.to::<u64>(),
                "onlyAllowed": lane.onlyAllowed,
                "usedInPeriod": self.slots_used,
            })
        });
        json!({
            "operator": self.operator,
            "epoch": self.known.epoch,
            "frozen": self.known.frozen,
            "policy": policy,
            "lane": lane,
            "recipients": self.recipients,
        })
    }
}

/// How many payments of the current period the lane has made: slots are used in order.
async fn slots_used<P: Provider>(
    chain: &Chain,
    contract: &AgentWallet::AgentWalletInstance<P>,
    operator: Address,
    lane: &IAgentWallet::Lane,
) -> Result<u32> {
    let token = Token::new(lane.token, chain.provider());
    let period = u32::try_from(chain.now / u64::from(lane.periodSeconds.max(1))).unwrap_or(u32::MAX);
    let slots = lane.paymentsPerPeriod.to::<u32>().min(SLOTS_MAX);
    for slot in 0..slots {
        let nonce = contract.laneNonce(operator, period, slot).call().await?;
        if !token.authorizationState(*contract.address(), nonce).call().await? {
            return Ok(slot);
        }
    }
    Ok(slots)
}

/// Whom the wallet's events mention: where to look.
#[derive(Default)]
struct Mentioned {
    approvers: BTreeSet<Address>,
    recipients: BTreeSet<Address>,
}

impl Mentioned {
    fn by(events: &[Event]) -> Self {
        use AgentWallet::AgentWalletEvents as Told;
        let mut all = Self::default();
        for event in events {
            match event {
                Event::AgentWallet(Told::ApproversChanged(told)) => all.approvers.extend(&told.approvers),
                Event::AgentWallet(Told::RecipientChanged(told)) => drop(all.recipients.insert(told.recipient)),
                _ => {}
            }
        }
        all
    }
}
