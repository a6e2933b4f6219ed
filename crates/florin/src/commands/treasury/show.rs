use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::Filter,
};
use anyhow::{Context, Result, bail};
use contracts::{
    Event,
    treasury::{ITreasury, Treasury as Contract},
};
use money::Usdc;
use serde_json::{Value, json};

use super::document::{Document, policy_in_words, spender_in_words};
use crate::{
    chain::{Chain, Target},
    values::{self, Span},
    words::unless_usdc,
};

/// What `readyAt` answers for a change that was executed or cancelled.
const OVER: u64 = u64::MAX;

/// Show owners, limits and what is left of them, orders and changes that wait, balance and credits
///
/// Example: florin treasury show
#[derive(clap::Args, Debug)]
pub(super) struct Show {
    /// Show only this order or change
    #[arg(long, value_name = "ID")]
    order: Option<B256>,

    /// Write that order or change to a file, to be signed offline
    #[arg(long, value_name = "FILE", requires = "order")]
    out: Option<PathBuf>,
}

impl Show {
    pub(super) async fn run(self, target: &Target) -> Result<()> {
        let (chain, treasury) = target.connect().await?;
        let Some(id) = self.order else {
            let state = State::read(&chain, treasury).await?;
            target.options.answer(&state.json(&chain), &state.text(&chain));
            return Ok(());
        };
        let document = Document::find(&id.to_string(), &chain, Some(treasury)).await?;
        if let Some(file) = &self.out {
            document.write(file)?;
        }
        target.options.answer(&json!({ "id": id, "file": self.out }), &document.in_words());
        Ok(())
    }
}

/// A treasury at the newest block.
struct State {
    treasury: Address,
    balance: Usdc,
    credited: Usdc,
    owners: Vec<Address>,
    threshold: U256,
    guardians: Vec<Address>,
    paused: bool,
    delays: (Span, Span),
    policies: Vec<PolicyState>,
    open: Vec<Open>,
    credits: Vec<(Address, Usdc)>,
}

struct PolicyState {
    spender: Address,
    token: Address,
    policy: ITreasury::Policy,
    left: Usdc,
    left_alone: Usdc,
    recipients: Vec<(Address, u64)>,
}

/// An order or change that can still come about.
struct Open {
    document: Document,
    approved_by: Vec<Address>,
    ready_at: Option<u64>,
}

impl State {
    async fn read(chain: &Chain, treasury: Address) -> Result<Self> {
        let (contract, token) = (Contract::new(treasury, chain.provider()), chain.deployment.usdc);
        let told =
            Told::by(&chain.events(contracts::Contract::Treasury, Filter::new().address(treasury)).await?, treasury, chain.id());
        let owners = contract.owners().call().await.context("this is no treasury")?;
        let mut guardians = Vec::new();
        for guardian in told.guardians {
            if contract.isGuardian(guardian).call().await? {
                guardians.push(guardian);
            }
        }
        let mut policies = Vec::new();
        for ((spender, token), recipients) in told.spenders {
            let view = contract.policyOf(spender, token).call().await?;
            if view.active {
                let left = contract.remaining(spender, token).call().await?;
                let mut payable = Vec::new();
                for recipient in recipients {
                    let from = contract.allowedFrom(spender, token, recipient).call().await?;
                    payable.extend((from != 0).then_some((recipient, from)));
                }
                let (left, left_alone) = (values::usdc(left.total), values::usdc(left.withoutOwners));
                policies.push(PolicyState {
                    spender,
                    token,
                    policy: view.policy,
                    left,
                    left_alone: left_alone.min(left),
                    recipients: payable,
                });
            }
        }
        let mut open = Vec::new();
        for document in told.documents {
            open.extend(Open::read(chain, &contract, &owners, document).await?);
        }
        let mut credits = Vec::new();
        for account in told.credited {
            let amount = contract.withdrawable(token, account).call().await?;
            credits.extend((!amount.is_zero()).then(|| (account, values::usdc(amount))));
        }
        let delays = contract.delays().call().await?;
        Ok(Self {
            treasury,
            balance: chain.balance(treasury).await?,
            credited: values::usdc(contract.credited(token).call().await?),
            owners,
            threshold: contract.threshold().call().await?,
            guardians,
            paused: contract.paused().call().await?,
            delays: (Span(delays.changeDelay), Span(delays.recipientCooldown)),
            policies,
            open,
            credits,
        })
    }

    fn text(&self, chain: &Chain) -> String {
        let mut text = format!("treasury {} on chain {}\n", self.treasury, chain.id());
        text += &format!("balance {} USDC, of it {} owed to payees whom the token refused\n", self.balance, self.credited);
        if self.paused {
            text += "PAUSED: no order moves money\n";
        }
        text += &format!("{} of {} owners decide\n", self.threshold, self.owners.len());
        self.owners.iter().for_each(|owner| text += &format!("  {owner}\n"));
        text += &format!("{} guardians\n", self.guardians.len());
        self.guardians.iter().for_each(|guardian| text += &format!("  {guardian}\n"));
        text += &format!("changes wait {}, new recipients {}\n", self.delays.0, self.delays.1);
        text += &format!("{} policies\n", self.policies.len());
        for policy in &self.policies {
            text += &format!("  {}: {}\n", spender_in_words(policy.spender), policy_in_words(&policy.policy));
            text += &unless_usdc(policy.token, chain.deployment.usdc);
            text += &format!("    left now {} USDC, of it {} without the owners\n", policy.left, policy.left_alone);
            for (recipient, from) in &policy.recipients {
                let from = if *from > chain.now { format!(" from {} on", values::utc(*from)) } else { String::new() };
                text += &format!("    may pay {recipient}{from}\n");
            }
        }
        text += &format!("{} orders and changes wait\n", self.open.len());
        for open in &self.open {
            let approved = open.approved_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            text += &indented(&open.document.in_words());
            text += &match open.ready_at {
                Some(ready) => format!("    can be executed from {} on\n", values::utc(ready)),
                None if approved.is_empty() => "    nobody approved it by transaction\n".to_owned(),
                None => format!("    approved by {approved}\n"),
            };
        }
        for (account, amount) in &self.credits {
            text += &format!("{amount} USDC wait for {account}\n");
        }
        text
    }

    fn json(&self, chain: &Chain) -> Value {
        let policies = self.policies.iter().map(|state| {
            let recipients = state.recipients.iter().map(|(recipient, from)| json!({ "recipient": recipient, "from": from }));
            json!({
                "spender": state.spender,
                "token": state.token,
                "dailyLimit": values::usdc(state.policy.dailyLimit),
                "orderMax": values::usdc(state.policy.orderMax),
                "approvalAbove": values::usdc(state.policy.approvalAbove),
                "onlyAllowed": state.policy.onlyAllowed,
                "remaining": state.left,
                "remainingWithoutOwners": state.left_alone,
                "recipients": recipients.collect::<Vec<_>>(),
            })
        });
        let open = self.open.iter().map(|open| {
            let kind = if open.ready_at.is_some() { "change" } else { "order" };
            json!({ "kind": kind, "id": open.document.id(), "approvedBy": open.approved_by, "readyAt": open.ready_at })
        });
        let credits = self.credits.iter().map(|(account, amount)| json!({ "account": account, "amount": amount }));
        json!({
            "treasury": self.treasury,
            "chainId": chain.id(),
            "balance": self.balance,
            "credited": self.credited,
            "owners": self.owners,
            "threshold": self.threshold.saturating_to::<u64>(),
            "guardians": self.guardians,
            "paused": self.paused,
            "changeDelaySeconds": self.delays.0.0,
            "recipientCooldownSeconds": self.delays.1.0,
            "policies": policies.collect::<Vec<_>>(),
            "open": open.collect::<Vec<_>>(),
            "credits": credits.collect::<Vec<_>>(),
        })
    }
}

/// Whom and what the treasury's events mention: where to look.
#[derive(Default)]
struct Told {
    guardians: BTreeSet<Address>,
    /// Recipients by spender and token.
    spenders: BTreeMap<(Address, Address), BTreeSet<Address>>,
    credited: BTreeSet<Address>,
    documents: Vec<Document>,
}

impl Told {
    fn by(events: &[Event], treasury: Address, chain_id: u64) -> Self {
        use Contract::TreasuryEvents as Told;
        let mut all = Self::default();
        for event in events {
            match event {
                Event::Treasury(Told::GuardianSet(told)) => drop(all.guardians.insert(told.guardian)),
                Event::Treasury(Told::PolicySet(told)) => drop(all.spenders.entry((told.spender, told.token)).or_default()),
                Event::Treasury(Told::RecipientAllowed(told)) => {
                    all.spenders.entry((told.spender, told.token)).or_default().insert(told.recipient);
                }
                Event::Treasury(Told::PaymentCredited(told)) => drop(all.credited.insert(told.to)),
                _ => {}
            }
            // Whoever proposes an order again announces it again.
            let known = |found: &Document| all.documents.iter().any(|document| document.id() == found.id());
            if let Some(found) = Document::announced(event, treasury, chain_id).filter(|found| !known(found)) {
                all.documents.push(found);
            }
        }
        all
    }
}

impl Open {
    /// `None` when it was executed or cancelled, or can be no more.
    async fn read<P: alloy::providers::Provider>(
        chain: &Chain,
        contract: &Contract::TreasuryInstance<P>,
        owners: &[Address],
        document: Document,
    ) -> Result<Option<Self>> {
        let owner_epoch = contract.ownerEpoch().call().await?;
        let ready_at = match &document {
            Document::Order(message) => {
                let order = &message.content;
                let policy = contract.policyOf(order.spender, order.token).call().await?;
                let stale = order.ownerEpoch != owner_epoch || order.policyEpoch != policy.epoch || !policy.active;
                if stale || order.validUntil < chain.now || contract.isNonceUsed(order.spender, order.nonce).call().await? {
                    return Ok(None);
                }
                None
            }
            Document::Change(message) => {
                let ready = contract.readyAt(document.id()).call().await?;
                if ready == OVER || message.content.validUntil < chain.now || message.content.ownerEpoch != owner_epoch {
                    return Ok(None);
                }
                Some(ready)
            }
            Document::Cancellation(_) => bail!("cancellations are not announced"),
        };
        let mut approved_by = Vec::new();
        for &owner in owners {
            if contract.isApproved(document.id(), owner).call().await? {
                approved_by.push(owner);
            }
        }
        Ok(Some(Self { document, approved_by, ready_at }))
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
