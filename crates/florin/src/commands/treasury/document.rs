//! Orders, changes and cancellations as owners see them: in a file, or found on chain by id.

use std::path::Path;

use alloy::{
    dyn_abi::TypedData,
    primitives::{Address, B256, Bytes, Signature},
    rpc::types::Filter,
    signers::SignerSync,
    sol_types::{SolInterface, SolValue},
};
use anyhow::{Context, Result, bail};
use contracts::{
    Event,
    agent_wallet_factory::IAgentWallet,
    signing::{Message, treasury as signing},
    treasury::{ITreasury, Treasury as Contract},
};

use crate::{
    chain::Chain,
    commands::{escrow::terms_in_words, wallet::config_in_words},
    document, values,
    words::{known_usdc, unless_usdc},
};

/// What owners approve.
#[derive(Debug)]
pub(super) enum Document {
    Order(Message<signing::Order>),
    Change(Message<signing::Change>),
    Cancellation(Message<signing::Cancellation>),
}

impl Document {
    pub(super) fn order(order: &ITreasury::Order, treasury: Address, chain_id: u64) -> Self {
        Self::Order(signing::order(order, treasury, chain_id))
    }

    pub(super) fn change(change: &ITreasury::Change, treasury: Address, chain_id: u64) -> Self {
        Self::Change(signing::change(change, treasury, chain_id))
    }

    pub(super) fn load(file: &Path) -> Result<Self> {
        let data = document::load(file)?;
        Self::read(&data).with_context(|| format!("{} is nothing that owners of a treasury sign", file.display()))
    }

    fn read(data: &TypedData) -> Result<Self> {
        let (treasury, chain_id) = document::target(data)?;
        let domain = signing::domain(treasury, chain_id);
        let read = match data.primary_type.as_str() {
            "Change" => Self::Change(document::read(data, domain)?),
            "Cancellation" => Self::Cancellation(document::read(data, domain)?),
            _ => Self::Order(document::read(data, domain)?),
        };
        let named = match &read {
            Self::Order(message) => message.content.treasury,
            Self::Change(message) => message.content.treasury,
            Self::Cancellation(message) => message.content.treasury,
        };
        if named != treasury {
            bail!("it names the treasury {named} and is signed for {treasury}");
        }
        Ok(read)
    }

    /// A file, or the id of an order that was proposed or a change that was scheduled.
    pub(super) async fn find(text: &str, chain: &Chain, treasury: Option<Address>) -> Result<Self> {
        let Ok(id) = text.parse::<B256>() else {
            let found = Self::load(Path::new(text))?;
            if found.chain_id() != chain.id() {
                bail!("{text} is for chain {} and the node is on chain {}", found.chain_id(), chain.id());
            }
            if treasury.is_some_and(|treasury| treasury != found.treasury()) {
                bail!("{text} is for the treasury {}, not the one named with --treasury", found.treasury());
            }
            return Ok(found);
        };
        let treasury = treasury.context("which treasury? Name it with --treasury (or set FLORIN_TREASURY)")?;
        let events = chain.events(contracts::Contract::Treasury, Filter::new().address(treasury)).await?;
        let found = events.iter().find_map(|event| Self::announced(event, treasury, chain.id()).filter(|found| found.id() == id));
        found.with_context(|| format!("the treasury announced no order and no change {id}: name its file instead"))
    }

    /// What an event of the treasury announces.
    pub(super) fn announced(event: &Event, treasury: Address, chain_id: u64) -> Option<Self> {
        use Contract::TreasuryEvents as Told;
        match event {
            Event::Treasury(Told::OrderProposed(told)) => Some(Self::order(&told.order, treasury, chain_id)),
            Event::Treasury(Told::ChangeScheduled(told)) => Some(Self::change(&told.change, treasury, chain_id)),
            _ => None,
        }
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        match self {
            Self::Order(message) => document::write(message, file),
            Self::Change(message) => document::write(message, file),
            Self::Cancellation(message) => document::write(message, file),
        }
    }

    pub(super) fn id(&self) -> B256 {
        match self {
            Self::Order(message) => message.digest(),
            Self::Change(message) => message.digest(),
            Self::Cancellation(message) => message.digest(),
        }
    }

    pub(super) fn sign(&self, signer: &impl SignerSync) -> Result<Signature> {
        Ok(match self {
            Self::Order(message) => message.sign(signer)?,
            Self::Change(message) => message.sign(signer)?,
            Self::Cancellation(message) => message.sign(signer)?,
        })
    }

    pub(super) fn treasury(&self) -> Address {
        let domain = match self {
            Self::Order(message) => &message.domain,
            Self::Change(message) => &message.domain,
            Self::Cancellation(message) => &message.domain,
        };
        domain.verifying_contract.unwrap_or_default()
    }

    pub(super) fn chain_id(&self) -> u64 {
        let domain = match self {
            Self::Order(message) => &message.domain,
            Self::Change(message) => &message.domain,
            Self::Cancellation(message) => &message.domain,
        };
        domain.chain_id.map_or(0, |id| id.saturating_to())
    }

    /// All of it, for somebody who decides whether to sign.
    pub(super) fn in_words(&self) -> String {
        let (id, treasury, chain) = (self.id(), self.treasury(), self.chain_id());
        let (kind, body) = match self {
            Self::Order(message) => ("order", order_in_words(&message.content, known_usdc(chain))),
            Self::Change(message) => ("change", change_in_words(&message.content, known_usdc(chain))),
            Self::Cancellation(message) => ("cancellation", format!("  ends change {}\n", message.content.change)),
        };
        format!("{kind} {id}\n  of treasury {treasury} on chain {chain}\n{body}")
    }
}

/// The order as the contract takes it.
pub(super) fn order_argument(order: &signing::Order) -> ITreasury::Order {
    let payments = order.payments.iter();
    ITreasury::Order {
        spender: order.spender,
        token: order.token,
        operation: order.operation,
        category: order.category,
        payments: payments.map(|p| ITreasury::Payment { to: p.to, amount: p.amount, paymentRef: p.paymentRef }).collect(),
        details: order.details.clone(),
        nonce: order.nonce,
        validUntil: order.validUntil,
        policyEpoch: order.policyEpoch,
        ownerEpoch: order.ownerEpoch,
    }
}

/// The change as the contract takes it.
pub(super) fn change_argument(change: &signing::Change) -> ITreasury::Change {
    ITreasury::Change {
        calls: change.calls.clone(),
        nonce: change.nonce,
        validUntil: change.validUntil,
        ownerEpoch: change.ownerEpoch,
    }
}

/// The spender zero is the owners' own budget.
pub(super) fn spender_in_words(spender: Address) -> String {
    if spender.is_zero() { "owners".to_owned() } else { spender.to_string() }
}

fn order_in_words(order: &signing::Order, usdc: Address) -> String {
    let what =
        ["pays", "creates a wallet with", "funds escrow with", "disputes, with a bond of", "calls the payment router with"];
    let what = what.get(usize::from(order.operation)).copied().unwrap_or("UNKNOWN OPERATION with");
    let mut text = format!("  {what}\n");
    for payment in &order.payments {
        let (amount, reference) = (values::usdc(payment.amount), values::shown_reference(payment.paymentRef));
        text += &format!("    {amount} USDC to {}, reference {reference}\n", payment.to);
    }
    if order.payments.len() > 1 {
        let total = order.payments.iter().fold(alloy::primitives::U256::ZERO, |sum, payment| sum.saturating_add(payment.amount));
        text += &format!("    {} USDC in all, {} payments\n", values::usdc(total), order.payments.len());
    }
    text += &details_in_words(order, usdc);
    text += &format!(
        "  from the budget of {}, category {}\n",
        spender_in_words(order.spender),
        values::shown_reference(order.category)
    );
    text += &unless_usdc(order.token, usdc);
    text + &format!("  until {}\n", values::utc(order.validUntil))
}

fn details_in_words(order: &signing::Order, usdc: Address) -> String {
    let unread = || format!("    details {}\n", order.details);
    match order.operation {
        0 => String::new(),
        1 => IAgentWallet::WalletConfig::abi_decode(&order.details)
            .map_or_else(|_| unread(), |config| config_in_words(&config, usdc)),
        2 | 3 => contracts::escrow::IEscrow::Terms::abi_decode(&order.details)
            .map_or_else(|_| unread(), |terms| terms_in_words(&terms, usdc)),
        _ => unread(),
    }
}

fn change_in_words(change: &signing::Change, usdc: Address) -> String {
    let calls = change.calls.iter().map(|call| format!("  {}\n", call_in_words(call, usdc).trim_end()));
    calls.collect::<String>() + &format!("  until {}\n", values::utc(change.validUntil))
}

fn call_in_words(call: &Bytes, usdc: Address) -> String {
    use Contract::TreasuryCalls as Call;
    match Contract::TreasuryCalls::abi_decode(call) {
        Ok(Call::addOwner(c)) => format!("adds the owner {}; then {} owners decide", c.owner, c.threshold_),
        Ok(Call::removeOwner(c)) => format!("removes the owner {}; then {} owners decide", c.owner, c.threshold_),
        Ok(Call::replaceOwner(c)) => format!("replaces the owner {} by {}", c.owner, c.successor),
        Ok(Call::setThreshold(c)) => format!("{} owners decide", c.threshold_),
        Ok(Call::setGuardian(c)) if c.active => format!("makes {} a guardian", c.guardian),
        Ok(Call::setGuardian(c)) => format!("{} is no guardian any more", c.guardian),
        Ok(Call::setDelays(c)) => {
            format!("changes wait {}, new recipients {}", values::Span(c.changeDelay), values::Span(c.recipientCooldown))
        }
        Ok(Call::unpause(_)) => "unpauses".to_owned(),
        Ok(Call::setPolicy(c)) => {
            let (spender, policy) = (spender_in_words(c.spender), policy_in_words(&c.policy));
            format!("spender {spender}: {policy}\n{}", unless_usdc(c.token, usdc))
        }
        Ok(Call::allowRecipient(c)) => {
            let spender = spender_in_words(c.spender);
            format!("spender {spender} can pay {}\n{}", c.recipient, unless_usdc(c.token, usdc))
        }
        Ok(Call::callContract(c)) => format!("calls {} with {}", c.target, c.data),
        _ => format!("UNKNOWN CALL {call}: do not sign what you cannot read"),
    }
}

pub(super) fn policy_in_words(policy: &ITreasury::Policy) -> String {
    let (daily, order, alone) = (policy.dailyLimit, policy.orderMax, policy.approvalAbove);
    let who = if policy.onlyAllowed { ", to its allowlist only" } else { "" };
    format!(
        "{} USDC a day, {} an order, {} a day without the owners{who}",
        values::usdc(daily),
        values::usdc(order),
        values::usdc(alone)
    )
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolCall;
    use contracts::escrow::IEscrow;

    use super::*;

    /// Whoever signs reads amounts in USDC: a token that anybody made must not pass for it.
    #[test]
    fn what_is_not_in_usdc_is_told_so_in_every_document() {
        let (usdc, other) = (known_usdc(84532), Address::repeat_byte(0x66));
        let said = |token| {
            let (treasury, spender, recipient) = (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
            let change = |call: Vec<u8>| ITreasury::Change { calls: vec![call.into()], ..Default::default() };
            let policy = ITreasury::Policy::default();
            let details = IEscrow::Terms { token, ..Default::default() }.abi_encode().into();
            [
                Document::change(&change(Contract::setPolicyCall { spender, token, policy }.abi_encode()), treasury, 84532),
                Document::change(
                    &change(Contract::allowRecipientCall { spender, token, recipient }.abi_encode()),
                    treasury,
                    84532,
                ),
                Document::order(&ITreasury::Order { token, ..Default::default() }, treasury, 84532),
                Document::order(&ITreasury::Order { token: usdc, operation: 2, details, ..Default::default() }, treasury, 84532),
            ]
            .map(|document| document.in_words())
        };
        for text in said(other) {
            assert!(text.contains(&format!("IN THE TOKEN {other}, NOT IN USDC")), "{text}");
        }
        for text in said(usdc) {
            assert!(!text.contains("NOT IN USDC"), "{text}");
        }
    }
}
