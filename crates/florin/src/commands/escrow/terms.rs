//! What buyer and seller agree on: from flags, in a file, in words.

use std::path::{Path, PathBuf};

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::Filter,
    sol_types::SolEvent,
};
use anyhow::{Result, bail, ensure};
use contracts::{
    Contract, Event,
    escrow::{
        Escrow::{AgreementFunded, EscrowEvents},
        IEscrow,
    },
    signing::{Message, escrow as signing},
};
use money::Usdc;

use crate::{
    chain::Chain,
    document,
    values::{self, Span, When},
    words::unless_usdc,
};

/// What happens when the arbiter stays silent.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DefaultOutcome {
    /// The buyer gets the rest back
    Refund,
    /// The seller gets the rest
    Release,
}

/// The terms of a new agreement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Terms {
    /// Who delivers and is paid
    #[arg(long, value_name = "ADDRESS")]
    seller: Address,

    /// What is put into escrow, in USDC
    #[arg(long, value_name = "USDC", value_parser = Usdc::parse_price)]
    amount: Usdc,

    /// Until when the seller must deliver: a duration or a time
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    deliver_by: When,

    /// How long the buyer may dispute after delivery; then anyone may release
    #[arg(long, value_name = "DURATION", default_value = "3d")]
    review: Span,

    /// Who rules on a dispute; without one there is no dispute
    #[arg(long, value_name = "ADDRESS")]
    arbiter: Option<Address>,

    /// How long the arbiter may rule after a dispute; then the default applies
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    arbitration: Span,

    /// What a dispute costs the buyer if it is lost entirely, in USDC
    #[arg(long, value_name = "USDC", default_value = "0")]
    bond: Usdc,

    /// What happens if the arbiter is silent
    #[arg(long, value_name = "OUTCOME", default_value = "refund")]
    default_outcome: DefaultOutcome,

    /// Share of everything released that goes to --fee-to, in basis points
    #[arg(long, value_name = "BPS", default_value_t = 0, requires = "fee_to")]
    fee_bps: u16,

    /// Who gets the fee
    #[arg(long, value_name = "ADDRESS")]
    fee_to: Option<Address>,

    /// SHA-256 of what is to be delivered, 0x and 64 hex digits
    #[arg(long, value_name = "HASH", default_value_t = B256::ZERO, hide_default_value = true)]
    content_hash: B256,

    /// ERC-8004 id of the seller's agent
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    agent_id: u64,

    /// File to write the terms to, for whoever wants to read them before they are funded
    #[arg(long = "terms", value_name = "FILE", default_value = "terms.json")]
    file: PathBuf,
}

impl Terms {
    /// The terms with a buyer, written to their file.
    pub(crate) fn agree(&self, chain: &Chain, buyer: Address) -> Result<IEscrow::Terms> {
        let terms = IEscrow::Terms {
            buyer,
            seller: self.seller,
            arbiter: self.arbiter.unwrap_or_default(),
            token: chain.deployment.usdc,
            amount: self.amount.into(),
            feeBps: self.fee_bps,
            feeRecipient: self.fee_to.unwrap_or_default(),
            deliverBy: self.deliver_by.from(chain.now),
            reviewPeriod: self.review.0,
            arbitrationPeriod: self.arbitration.0,
            disputeBond: self.bond.into(),
            defaultOutcome: self.default_outcome as u8,
            contentHash: self.content_hash,
            agentId: U256::from(self.agent_id),
            salt: values::fresh().into(),
        };
        document::write(&signing::terms(terms.clone(), chain.deployment.escrow, chain.id()), &self.file)?;
        eprintln!("terms written to {}", self.file.display());
        Ok(terms)
    }
}

/// The terms of an agreement: by its id, as they were funded, or from a file.
pub(crate) async fn find_terms(text: &str, chain: &Chain) -> Result<Message<IEscrow::Terms>> {
    let Ok(id) = text.parse::<B256>() else { return load_terms(Path::new(text), chain) };
    let filter = Filter::new().address(chain.deployment.escrow).event_signature(AgreementFunded::SIGNATURE_HASH).topic1(id);
    for event in chain.events(Contract::Escrow, filter).await? {
        if let Event::Escrow(EscrowEvents::AgreementFunded(told)) = event {
            let terms = signing::terms(told.terms, chain.deployment.escrow, chain.id());
            // The id commits to the terms, so that no node can put others in their place.
            ensure!(terms.digest() == id, "the node gives other terms for the agreement {id}: do not trust it");
            return Ok(terms);
        }
    }
    bail!("there is no agreement {id} in the escrow of chain {}", chain.id())
}

/// Reads a file of terms, which must be for this chain's escrow.
fn load_terms(file: &Path, chain: &Chain) -> Result<Message<IEscrow::Terms>> {
    let data = document::load(file)?;
    let (escrow, chain_id) = document::target(&data)?;
    if (escrow, chain_id) != (chain.deployment.escrow, chain.id()) {
        bail!("{} is for the escrow {escrow} on chain {chain_id}, and this is another", file.display());
    }
    document::read(&data, signing::domain(escrow, chain_id))
}

/// All of the terms, for somebody who decides whether to sign, on a chain with this USDC.
pub(crate) fn terms_in_words(terms: &IEscrow::Terms, usdc: Address) -> String {
    let amount = |amount: U256| values::usdc(amount);
    let mut text = format!("    {} USDC from {} to {}\n", amount(terms.amount), terms.buyer, terms.seller);
    text += &unless_usdc(terms.token, usdc);
    text += &format!("    to be delivered by {}, then {} to dispute\n", values::utc(terms.deliverBy), Span(terms.reviewPeriod));
    if terms.arbiter.is_zero() {
        text += "    no arbiter, so no dispute\n";
    } else {
        let default = if terms.defaultOutcome == 0 { "the buyer" } else { "the seller" };
        let (arbiter, period, bond) = (terms.arbiter, Span(terms.arbitrationPeriod), amount(terms.disputeBond));
        text += &format!(
            "    {arbiter} rules within {period}, else the rest goes to {default}; a dispute takes a bond of {bond} USDC\n"
        );
    }
    if terms.feeBps != 0 {
        text += &format!("    of what is released {} basis points go to {}\n", terms.feeBps, terms.feeRecipient);
    }
    if !terms.contentHash.is_zero() {
        text += &format!("    content {}\n", terms.contentHash);
    }
    text
}
