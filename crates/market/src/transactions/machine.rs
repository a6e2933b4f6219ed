//! What may become of a purchase that the ledger pays for, as a function: it has no clock, no database and no money of its own.
//!
//! A decision that moves money names an effect, which the ledger then has; until it had it, nothing else is decided. Every state but the last ones
//! ends by its deadline alone.

use api::{BondStatus as Bond, Code, DefaultOutcome, TransactionActor as Actor, TransactionStatus as Status, ledger::Amount};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{db, problem::Problem};

/// What the ledger is to do, decided and not known to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// Set the price aside.
    Hold,
    /// Set aside what the buyer puts up to dispute.
    Bond,
    /// Give the buyer the bond back, and then what else was decided.
    ReturnBond,
    /// Pay the bond to the seller, and then what else was decided.
    ForfeitBond,
    /// Pay the seller [`State::to_seller`] of what is held, and give the rest back.
    Settle,
    /// Give all of it back.
    Void,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) price: Amount,
    /// What the buyer puts up to dispute.
    pub(super) bond: Amount,
    /// From the payment on.
    pub(super) deliver_within: Duration,
    /// From the delivery on.
    pub(super) review: Duration,
    /// From the dispute on.
    pub(super) arbitration: Duration,
    pub(super) default_outcome: DefaultOutcome,
}

/// Where a purchase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) effect: Option<Effect>,
    /// When it goes on without anybody.
    pub(super) due_at: Option<OffsetDateTime>,
    /// What the seller gives back of the price.
    pub(super) given_back: Amount,
    /// What is paid to the seller, once that is decided.
    pub(super) to_seller: Option<Amount>,
    /// The buyer asks to cancel.
    pub(super) cancel_wanted: bool,
    /// What became of the bond, once there is one.
    pub(super) bond: Option<Bond>,
    /// An arbiter gave most of it to the buyer.
    pub(super) ruled: bool,
}

/// What somebody wants, or what happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The buyer pays.
    Pay,
    /// The seller delivers.
    Deliver,
    /// The buyer accepts.
    Accept,
    /// The buyer disputes.
    Dispute,
    /// Either side gives up.
    Cancel,
    /// The seller gives so much back, in all.
    GiveBack(Amount),
    /// An arbiter pays so much of the price to the seller, and the rest to the buyer.
    Award(Amount),
    /// The deadline has passed.
    Due,
    /// The ledger did what was decided.
    Done,
    /// The ledger refused what was decided.
    Refused,
}

/// Why nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this was done before")]
    Already,
    #[error("this is for the {0} only")]
    NotYours(&'static str),
    #[error("the purchase is {}, so this is not possible", db::name_of(.0))]
    WrongStatus(Status),
    #[error("the time for this has passed")]
    TooLate,
    #[error("the time for this has not come")]
    TooEarly,
    #[error("the ledger is about to do what was decided before: ask again")]
    Underway,
    #[error("{0} of the price is left to be divided")]
    TooMuch(Amount),
    #[error("{0} was given back already, and stays so")]
    TooLittle(Amount),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NotYours(_) => Code::Forbidden,
            Refusal::Already | Refusal::WrongStatus(_) | Refusal::TooLate | Refusal::TooEarly => Code::WrongState,
            Refusal::Underway => Code::Unavailable,
            Refusal::TooMuch(_) | Refusal::TooLittle(_) => Code::Inconsistent,
        };
        Self::new(code, refusal.to_string())
    }
}

impl Event {
    /// Refuses whose it is not.
    fn must_be_of(self, by: Actor) -> Result<(), Refusal> {
        let (whose, name): (&[Actor], _) = match self {
            Self::Pay | Self::Accept | Self::Dispute => (&[Actor::Buyer], "buyer"),
            Self::Deliver | Self::GiveBack(_) => (&[Actor::Seller], "seller"),
            Self::Cancel => (&[Actor::Buyer, Actor::Seller], "buyer or the seller"),
            Self::Award(_) => (&[Actor::Arbiter], "arbiter"),
            Self::Due | Self::Done | Self::Refused => (&[Actor::Market], "market"),
        };
        if whose.contains(&by) { Ok(()) } else { Err(Refusal::NotYours(name)) }
    }
}

impl State {
    fn until(self, status: Status, due_at: OffsetDateTime) -> Self {
        Self { status, due_at: Some(due_at), ..self }
    }

    fn ended(self, status: Status) -> Self {
        Self { status, effect: None, due_at: None, ..self }
    }

    /// All goes back.
    fn void(self, status: Status) -> Self {
        Self { status, effect: Some(Effect::Void), due_at: None, to_seller: None, ..self }
    }

    /// So much goes to the seller, and the rest back.
    fn settle(self, status: Status, to_seller: Amount) -> Self {
        if to_seller.is_zero() {
            return self.void(status);
        }
        Self { status, effect: Some(Effect::Settle), due_at: None, to_seller: Some(to_seller), ..self }
    }

    /// Before the price is divided the bond goes where it belongs: back, unless the seller gets more of the price than the buyer.
    fn bond_first(self, terms: &Terms) -> Self {
        if self.bond != Some(Bond::Held) || !matches!(self.effect, Some(Effect::Settle | Effect::Void)) {
            return self;
        }
        let to_seller = self.to_seller.unwrap_or_default();
        let to_buyer = terms.price.checked_sub(to_seller).unwrap_or_default();
        Self { effect: Some(if to_seller > to_buyer { Effect::ForfeitBond } else { Effect::ReturnBond }), ..self }
    }

    /// The bond is where it belongs, and what else was decided follows.
    fn without_bond(self, bond: Bond) -> Self {
        let effect = if self.to_seller.is_some() { Effect::Settle } else { Effect::Void };
        Self { effect: Some(effect), bond: Some(bond), ..self }
    }
}

/// What the state is after an event.
pub(super) fn next(state: &State, terms: &Terms, event: Event, by: Actor, now: OffsetDateTime) -> Result<State, Refusal> {
    decided(state, terms, event, by, now).map(|next| next.bond_first(terms))
}

fn decided(state: &State, terms: &Terms, event: Event, by: Actor, now: OffsetDateTime) -> Result<State, Refusal> {
    use Status::{Completed, Delivered, Disputed, Expired, Failed, PaymentConfirmed, PaymentPending, Refunded, Verified};
    event.must_be_of(by)?;
    let (state, status) = (*state, state.status);
    if let Some(effect) = state.effect {
        return match (event, effect) {
            (Event::Done, Effect::Hold) => {
                Ok(State { effect: None, ..state.until(PaymentConfirmed, now + terms.deliver_within) })
            }
            (Event::Done, Effect::Bond) => {
                Ok(State { effect: None, bond: Some(Bond::Held), ..state.until(Disputed, now + terms.arbitration) })
            }
            (Event::Done, Effect::ReturnBond) => Ok(state.without_bond(Bond::Returned)),
            (Event::Done, Effect::ForfeitBond) => Ok(state.without_bond(Bond::Forfeited)),
            (Event::Done, Effect::Settle) => Ok(state.ended(Completed)),
            (Event::Done, Effect::Void) => Ok(state.ended(Refunded)),
            (Event::Refused, Effect::Hold | Effect::Bond) => Ok(State { effect: None, ..state }),
            // So little that the fee would take all of it.
            (Event::Refused, Effect::Settle) => Ok(state.void(status)),
            _ => Err(Refusal::Underway),
        };
    }
    let left = terms.price.checked_sub(state.given_back).unwrap_or_default();
    let in_time = state.due_at.is_some_and(|due_at| now < due_at);
    let within = |next: State| if in_time { Ok(next) } else { Err(Refusal::TooLate) };
    match (event, status) {
        (Event::Pay, PaymentPending) => within(State { effect: Some(Effect::Hold), ..state }),
        (Event::Pay, PaymentConfirmed | Delivered | Disputed | Verified | Completed) => Err(Refusal::Already),

        (Event::Deliver, PaymentConfirmed) => within(state.until(Delivered, now + terms.review)),
        (Event::Deliver, Delivered | Disputed | Verified | Completed) => Err(Refusal::Already),

        // Whoever disputes may think better of it.
        (Event::Accept, Delivered | Disputed) => Ok(state.settle(Verified, left)),
        (Event::Accept, Verified | Completed) => Err(Refusal::Already),

        (Event::Dispute, Delivered) if !terms.bond.is_zero() => within(State { effect: Some(Effect::Bond), ..state }),
        (Event::Dispute, Delivered) => within(state.until(Disputed, now + terms.arbitration)),
        (Event::Dispute, Disputed) => Err(Refusal::Already),

        (Event::Cancel, PaymentPending) => Ok(state.ended(Failed)),
        (Event::Cancel, PaymentConfirmed | Delivered | Disputed) if by == Actor::Seller => {
            Ok(State { given_back: terms.price, ..state.void(status) })
        }
        (Event::Cancel, PaymentConfirmed | Delivered) if state.cancel_wanted => Err(Refusal::Already),
        (Event::Cancel, PaymentConfirmed | Delivered) => Ok(State { cancel_wanted: true, ..state }),
        (Event::Cancel, Failed | Refunded) => Err(Refusal::Already),

        (Event::GiveBack(amount), PaymentConfirmed | Delivered | Disputed) => match amount {
            _ if amount > terms.price => Err(Refusal::TooMuch(terms.price)),
            _ if amount < state.given_back => Err(Refusal::TooLittle(state.given_back)),
            _ if amount == state.given_back => Err(Refusal::Already),
            _ if amount == terms.price => Ok(State { given_back: amount, ..state.void(status) }),
            _ => Ok(State { given_back: amount, ..state }),
        },
        (Event::GiveBack(amount), Verified | Completed | Refunded) if amount == state.given_back => Err(Refusal::Already),

        (Event::Award(to_seller), Disputed) if to_seller > left => Err(Refusal::TooMuch(left)),
        (Event::Award(to_seller), Disputed) => {
            let to_buyer = terms.price.checked_sub(to_seller).unwrap_or_default();
            within(State { ruled: to_buyer > to_seller, ..state.settle(status, to_seller) })
        }
        (Event::Award(to_seller), Completed | Refunded) if state.to_seller.unwrap_or_default() == to_seller => {
            Err(Refusal::Already)
        }

        (Event::Due, _) if in_time => Err(Refusal::TooEarly),
        (Event::Due, PaymentPending) => Ok(state.ended(Expired)),
        (Event::Due, PaymentConfirmed) => Ok(state.void(Expired)),
        (Event::Due, Delivered) => Ok(state.settle(Verified, left)),
        (Event::Due, Disputed) => Ok(match terms.default_outcome {
            DefaultOutcome::RefundBuyer => state.void(status),
            DefaultOutcome::ReleaseSeller => state.settle(status, left),
        }),
        _ => Err(Refusal::WrongStatus(status)),
    }
}

/// Who is to do something, and where it goes on when nobody does.
pub(super) fn outlook(status: Status, default_outcome: DefaultOutcome) -> Option<(Actor, Status)> {
    match status {
        Status::PaymentPending => Some((Actor::Buyer, Status::Expired)),
        Status::PaymentConfirmed => Some((Actor::Seller, Status::Refunded)),
        Status::Delivered => Some((Actor::Buyer, Status::Completed)),
        Status::Disputed if default_outcome == DefaultOutcome::RefundBuyer => Some((Actor::Arbiter, Status::Refunded)),
        Status::Disputed => Some((Actor::Arbiter, Status::Completed)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
