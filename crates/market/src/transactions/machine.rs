//! What may become of a purchase that the ledger pays for, as a function: it has no clock, no database and no money of its own.
//!
//! A decision that moves money names an effect, which the ledger then has; until it had it, nothing else is decided. Every state but the last ones
//! ends by its deadline alone.

use api::{Code, DefaultOutcome, TransactionActor as Actor, TransactionStatus as Status, ledger::Amount};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{db, problem::Problem};

/// What the ledger is to do, decided and not known to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// Set the price aside.
    Hold,
    /// Pay the seller [`State::to_seller`] of what is held, and give the rest back.
    Settle,
    /// Give all of it back.
    Void,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) price: Amount,
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
}

/// What the state is after an event.
pub(super) fn next(state: &State, terms: &Terms, event: Event, by: Actor, now: OffsetDateTime) -> Result<State, Refusal> {
    use Status::{Completed, Delivered, Disputed, Expired, Failed, PaymentConfirmed, PaymentPending, Refunded, Verified};
    event.must_be_of(by)?;
    let (state, status) = (*state, state.status);
    if let Some(effect) = state.effect {
        return match (event, effect) {
            (Event::Done, Effect::Hold) => {
                Ok(State { effect: None, ..state.until(PaymentConfirmed, now + terms.deliver_within) })
            }
            (Event::Done, Effect::Settle) => Ok(state.ended(Completed)),
            (Event::Done, Effect::Void) => Ok(state.ended(Refunded)),
            (Event::Refused, Effect::Hold) => Ok(State { effect: None, ..state }),
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACTORS: [Actor; 4] = [Actor::Buyer, Actor::Seller, Actor::Arbiter, Actor::Market];
    const PRICE: u64 = 1_000;

    fn units(units: u64) -> Amount {
        Amount::from_units(units).unwrap()
    }

    /// Of a purchase that was just started.
    fn started(pay_by: OffsetDateTime) -> State {
        State {
            status: Status::PaymentPending,
            effect: None,
            due_at: Some(pay_by),
            given_back: Amount::ZERO,
            to_seller: None,
            cancel_wanted: false,
            ruled: false,
        }
    }

    fn terms(default_outcome: DefaultOutcome) -> Terms {
        let [deliver_within, review, arbitration] = [100, 50, 200].map(Duration::seconds);
        Terms { price: units(PRICE), deliver_within, review, arbitration, default_outcome }
    }

    fn is_last(state: &State) -> bool {
        use Status::{Completed, Expired, Failed, Refunded};
        state.effect.is_none() && matches!(state.status, Completed | Refunded | Failed | Expired)
    }

    /// Money as the ledger has it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Money {
        buyer: u64,
        held: u64,
        seller: u64,
    }

    impl Money {
        /// Has an effect, or refuses to.
        fn take(&mut self, state: &State) -> Event {
            match state.effect {
                Some(Effect::Hold) if self.buyer < PRICE => return Event::Refused,
                Some(Effect::Settle) if state.to_seller.unwrap().units() < 5 => return Event::Refused,
                Some(Effect::Hold) => (self.buyer, self.held) = (self.buyer - PRICE, self.held + PRICE),
                Some(Effect::Settle) => {
                    let to_seller = state.to_seller.unwrap().units();
                    (self.buyer, self.seller) = (self.buyer + self.held - to_seller, self.seller + to_seller);
                    self.held = 0;
                }
                Some(Effect::Void) => (self.buyer, self.held) = (self.buyer + self.held, 0),
                None => {}
            }
            Event::Done
        }
    }

    fn events() -> impl Strategy<Value = Vec<(Event, usize, i64)>> {
        let amount = prop_oneof![0_u64..8, Just(PRICE), Just(PRICE + 1), 0..PRICE].prop_map(units);
        let event = prop_oneof![
            2 => Just(Event::Pay),
            2 => Just(Event::Deliver),
            1 => Just(Event::Accept),
            2 => Just(Event::Dispute),
            1 => Just(Event::Cancel),
            1 => amount.clone().prop_map(Event::GiveBack),
            1 => amount.prop_map(Event::Award),
            1 => Just(Event::Due),
            4 => Just(Event::Done),
        ];
        // Mostly by whoever may, mostly soon.
        let step = (event, 0_usize..12, prop_oneof![4 => 0_i64..20, 1 => -50_i64..300]);
        prop::collection::vec(step, 0..40)
    }

    fn whose(event: Event, who: usize) -> Actor {
        let other = ACTORS.get(who).copied();
        other.unwrap_or(match event {
            Event::Pay | Event::Accept | Event::Dispute | Event::Cancel => Actor::Buyer,
            Event::Deliver | Event::GiveBack(_) => Actor::Seller,
            Event::Award(_) => Actor::Arbiter,
            Event::Due | Event::Done | Event::Refused => Actor::Market,
        })
    }

    proptest! {
        #[test]
        fn whatever_happens_no_money_is_lost_or_made_and_every_deadline_leads_out(
            events in events(), rich in any::<bool>(), to_seller in any::<bool>(),
        ) {
            let default_outcome = if to_seller { DefaultOutcome::ReleaseSeller } else { DefaultOutcome::RefundBuyer };
            let terms = terms(default_outcome);
            let start = OffsetDateTime::UNIX_EPOCH;
            let (mut now, mut state) = (start, started(start + Duration::seconds(60)));
            let mut money = Money { buyer: if rich { PRICE } else { PRICE - 1 }, held: 0, seller: 0 };
            let all = money.buyer;
            for (event, who, later) in events {
                now += Duration::seconds(later);
                let before = state;
                // The ledger says what it did only if there was something to do.
                let (event, after) = match event {
                    Event::Done => {
                        let mut after = money;
                        (after.take(&state), after)
                    }
                    event => (event, money),
                };
                let by = whose(event, who);
                if let Ok(next) = next(&state, &terms, event, by, now) {
                    prop_assert!(event.must_be_of(by).is_ok());
                    (state, money) = (next, after);
                    prop_assert!(state.effect.is_some() || is_last(&state) || state.due_at.is_some(), "stuck: {state:?}");
                    prop_assert!(state.given_back >= before.given_back && !is_last(&before));
                }
            }
            prop_assert_eq!(money.buyer + money.held + money.seller, all);
            // Nobody says anything more.
            let mut steps = 0;
            while !is_last(&state) {
                steps += 1;
                prop_assert!(steps <= 4, "no way out of {state:?}");
                let event = if state.effect.is_some() { money.take(&state) } else { Event::Due };
                now = now.max(state.due_at.unwrap_or(now));
                state = next(&state, &terms, event, Actor::Market, now).unwrap();
            }
            prop_assert_eq!((money.buyer + money.seller, money.held), (all, 0), "{:?}", state);
            let paid = state.to_seller.unwrap_or_default().units();
            prop_assert_eq!(money.seller, if state.status == Status::Completed { paid } else { 0 });
            prop_assert!(money.seller <= PRICE - state.given_back.units());
        }
    }

    #[test]
    fn a_default_that_applies_is_the_one_that_was_announced() {
        let start = OffsetDateTime::UNIX_EPOCH;
        for default_outcome in [DefaultOutcome::RefundBuyer, DefaultOutcome::ReleaseSeller] {
            let terms = terms(default_outcome);
            for status in [Status::PaymentPending, Status::PaymentConfirmed, Status::Delivered, Status::Disputed] {
                let mut state = State { status, ..started(start) };
                let (_, announced) = outlook(status, default_outcome).unwrap();
                state = next(&state, &terms, Event::Due, Actor::Market, start).unwrap();
                if state.effect.is_some() {
                    state = next(&state, &terms, Event::Done, Actor::Market, start).unwrap();
                }
                assert_eq!(state.status, announced);
            }
        }
    }
}
