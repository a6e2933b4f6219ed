use anyhow::{Result, bail};
use contracts::escrow::{Escrow as Contract, IEscrow};
use serde_json::json;

use super::terms::{find_terms, terms_in_words};
use crate::{
    chain::{ChainOptions, readable},
    values::{usdc, utc},
};

/// The states of an agreement, as the contract counts them.
const STATUSES: [&str; 7] = ["unfunded", "funded", "delivered", "disputed", "released", "refunded", "resolved"];

/// Show an agreement: its terms, its state, whose default applies and until when
///
/// Example: florin escrow show 0xID
#[derive(clap::Args, Debug)]
pub(super) struct Show {
    /// The agreement's id, or the file with its terms
    agreement: String,
}

impl Show {
    pub(super) async fn run(self, options: &ChainOptions) -> Result<()> {
        let chain = options.connect().await?;
        let message = find_terms(&self.agreement, &chain).await?;
        let (id, terms) = (message.digest(), &message.content);
        let contract = Contract::new(chain.deployment.escrow, chain.provider());
        let state = contract.agreementOf(id).call().await.map_err(readable)?;
        let Some(status) = STATUSES.get(usize::from(state.status)) else { bail!("the escrow has a state {}", state.status) };
        let (funded, released) = (usdc(state.funded), usdc(state.released));
        let next = next_in_words(terms, &state, chain.now);
        let terms_in_words = terms_in_words(terms, chain.deployment.usdc);
        let text = format!("agreement {id}\n{terms_in_words}{status}: {funded} USDC put in, {released} released\n{next}\n");
        let facts = json!({
            "agreement": id,
            "status": status,
            "funded": funded,
            "released": released,
            "buyer": terms.buyer,
            "seller": terms.seller,
            "arbiter": terms.arbiter,
            "token": terms.token,
            "deliverBy": terms.deliverBy,
            "windowEnds": state.windowEnds.to::<u64>(),
            "next": next,
        });
        options.answer(&facts, &text);
        Ok(())
    }
}

/// Whose turn it is, until when, and what happens if they stay silent.
fn next_in_words(terms: &IEscrow::Terms, state: &IEscrow::Agreement, now: u64) -> String {
    let ends = state.windowEnds.to::<u64>();
    match state.status {
        0 => "not funded: the buyer opens it with `florin escrow open`, or somebody relays the buyer's authorization".to_owned(),
        1 if now < terms.deliverBy => {
            format!("the seller delivers before {0}; from {0} on anybody can refund the buyer", utc(terms.deliverBy))
        }
        1 => "nothing was delivered in time: anybody can refund the buyer now".to_owned(),
        2 if now < ends && terms.arbiter.is_zero() => {
            format!("the buyer releases; from {} on anybody can release to the seller", utc(ends))
        }
        2 if now < ends => {
            format!("the buyer releases, or disputes before {0}; from {0} on anybody can release to the seller", utc(ends))
        }
        2 => "the buyer did not object in time: anybody can release to the seller now".to_owned(),
        3 => {
            let default = if terms.defaultOutcome == 0 { "give the rest to the buyer" } else { "give the rest to the seller" };
            if now < ends {
                format!("the arbiter rules before {0}; from {0} on anybody can {default}", utc(ends))
            } else {
                format!("the arbiter was silent: anybody can {default} now, with `florin escrow default`")
            }
        }
        _ => "it is over".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, aliases::U40};

    use super::*;

    /// Whoever waits must be told the second at which waiting is over, not one earlier or later.
    #[test]
    fn at_every_second_one_party_is_named() {
        let mut terms =
            IEscrow::Terms { deliverBy: 100, arbiter: Address::repeat_byte(1), defaultOutcome: 1, ..Default::default() };
        let state = |status, ends| IEscrow::Agreement { status, windowEnds: U40::from(ends), ..Default::default() };
        let words = |terms: &IEscrow::Terms, status, ends, now| next_in_words(terms, &state(status, ends), now);
        assert!(words(&terms, 1, 0, 99).starts_with("the seller delivers before"));
        assert!(words(&terms, 1, 0, 100).contains("anybody can refund the buyer now"));
        assert!(words(&terms, 2, 200, 199).contains("or disputes before"));
        assert!(words(&terms, 2, 200, 200).contains("anybody can release to the seller now"));
        assert!(words(&terms, 3, 300, 299).starts_with("the arbiter rules before"));
        assert!(words(&terms, 3, 300, 300).contains("give the rest to the seller now"));
        terms.arbiter = Address::ZERO;
        assert!(!words(&terms, 2, 200, 199).contains("dispute"), "there is nobody to rule");
    }
}
