use proptest::prelude::*;

use super::*;

const ACTORS: [Actor; 4] = [Actor::Buyer, Actor::Seller, Actor::Arbiter, Actor::Market];
const PRICE: u64 = 1_000;
const BOND: u64 = 50;

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
        bond: None,
        ruled: false,
    }
}

fn terms(bond: u64, default_outcome: DefaultOutcome) -> Terms {
    let [deliver_within, review, arbitration] = [100, 50, 200].map(Duration::seconds);
    Terms { price: units(PRICE), bond: units(bond), deliver_within, review, arbitration, default_outcome }
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
    /// Held for a dispute, and lost by one.
    bond: u64,
    forfeited: u64,
}

impl Money {
    /// Has an effect, or refuses to.
    fn take(&mut self, state: &State) -> Event {
        match state.effect {
            Some(Effect::Hold) if self.buyer < PRICE => return Event::Refused,
            Some(Effect::Settle) if state.to_seller.unwrap().units() < 5 => return Event::Refused,
            Some(Effect::Bond) if self.buyer < BOND => return Event::Refused,
            Some(Effect::Hold) => (self.buyer, self.held) = (self.buyer - PRICE, self.held + PRICE),
            Some(Effect::Bond) => (self.buyer, self.bond) = (self.buyer - BOND, self.bond + BOND),
            Some(Effect::ReturnBond) => (self.buyer, self.bond) = (self.buyer + self.bond, 0),
            Some(Effect::ForfeitBond) => (self.forfeited, self.bond) = (self.forfeited + self.bond, 0),
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
        events in events(), buyer in prop_oneof![Just(PRICE - 1), Just(PRICE), Just(PRICE + BOND)], bonded in any::<bool>(),
        to_seller in any::<bool>(),
    ) {
        let default_outcome = if to_seller { DefaultOutcome::ReleaseSeller } else { DefaultOutcome::RefundBuyer };
        let terms = terms(if bonded { BOND } else { 0 }, default_outcome);
        let start = OffsetDateTime::UNIX_EPOCH;
        let (mut now, mut state) = (start, started(start + Duration::seconds(60)));
        let mut money = Money { buyer, held: 0, seller: 0, bond: 0, forfeited: 0 };
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
        prop_assert_eq!(money.buyer + money.held + money.seller + money.bond + money.forfeited, all);
        // Nobody says anything more.
        let mut steps = 0;
        while !is_last(&state) {
            steps += 1;
            prop_assert!(steps <= 5, "no way out of {state:?}");
            let event = if state.effect.is_some() { money.take(&state) } else { Event::Due };
            now = now.max(state.due_at.unwrap_or(now));
            state = next(&state, &terms, event, Actor::Market, now).unwrap();
        }
        prop_assert_eq!((money.buyer + money.seller + money.forfeited, money.held, money.bond), (all, 0, 0), "{:?}", state);
        let paid = state.to_seller.unwrap_or_default().units();
        prop_assert_eq!(money.seller, if state.status == Status::Completed { paid } else { 0 });
        prop_assert!(money.seller <= PRICE - state.given_back.units());
        // The bond follows the price.
        let most_to_seller = money.seller > PRICE - money.seller;
        prop_assert_ne!(state.bond, Some(Bond::Held));
        match state.bond {
            None | Some(Bond::Held) => prop_assert_eq!(money.forfeited, 0),
            Some(Bond::Returned) => prop_assert!(bonded && !most_to_seller && money.forfeited == 0),
            Some(Bond::Forfeited) => prop_assert!(bonded && most_to_seller && money.forfeited == BOND),
        }
    }
}

#[test]
fn a_default_that_applies_is_the_one_that_was_announced() {
    let start = OffsetDateTime::UNIX_EPOCH;
    for default_outcome in [DefaultOutcome::RefundBuyer, DefaultOutcome::ReleaseSeller] {
        let terms = terms(BOND, default_outcome);
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
