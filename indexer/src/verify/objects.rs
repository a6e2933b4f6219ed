//! Agreements, subscriptions and services as the contracts tell them that hold them.

use alloy::primitives::{Address, B256, U256};
use contracts::{
    escrow::Escrow::agreementOfCall,
    payment_router::PaymentRouter::subscriptionOfCall,
    service_registry::ServiceRegistry::{reputationOfCall, serviceOfCall},
};
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, PgConnection, types::Json};

use super::{
    CALLS_AT_ONCE, Error, Found, Head, Node,
    facts::{Fact, check},
};
use crate::read::{self, Agreement, Service, Subscription};

/// Last period of a subscription that nobody cancelled, as the contract writes it.
const NEVER: u64 = u32::MAX as u64;

/// Something with an id that a contract tells of.
pub(super) trait Told: DeserializeOwned + Send + Unpin + 'static {
    /// Table of its versions.
    const TABLE: &'static str;
    /// The event that makes it, and the argument that is its id. Whose event it is, holds it.
    const MADE_BY: (&'static str, &'static str);

    /// What the contract must say, at a time in Unix seconds.
    fn facts(self, contract: Address, id: B256, time: u64) -> Vec<Fact>;
}

/// Key, state, and the contract that made it.
type Made<T> = (Vec<u8>, Json<T>, Option<Vec<u8>>);

/// Compares every one with what its contract answers at the mirrored block.
pub(super) async fn reconcile<T: Told>(conn: &mut PgConnection, node: &Node, head: &Head) -> Result<Found, Error> {
    let time = head.timestamp.unix_timestamp().unsigned_abs();
    let (event, argument) = T::MADE_BY;
    let select = format!(
        "SELECT o.key, o.state, (
             SELECT e.contract FROM chain.events AS e
             WHERE e.block_number = (SELECT min(f.from_block) FROM chain.{table} AS f WHERE f.key = o.key)
               AND e.name = '{event}' AND e.args ->> '{argument}' = '0x' || right(encode(o.key, 'hex'), 64)
               AND (length(o.key) = 32 OR e.contract = substr(o.key, 1, 20)) LIMIT 1)
         FROM chain.{table} AS o WHERE o.until_block IS NULL AND o.key > $1 ORDER BY o.key LIMIT $2",
        table = T::TABLE
    );
    let (mut found, mut after) = (Found::default(), Vec::new());
    loop {
        let page: Vec<Made<T>> =
            sqlx::query_as(AssertSqlSafe(select.as_str())).bind(&after).bind(CALLS_AT_ONCE).fetch_all(&mut *conn).await?;
        let Some((last, ..)) = page.last() else { return Ok(found) };
        after.clone_from(last);
        let mut facts = Vec::new();
        for (key, Json(said), contract) in page {
            let id = B256::from_slice(read::id(&key));
            match contract {
                Some(contract) => facts.extend(said.facts(Address::from_slice(&contract), id, time)),
                None => found.add(head, || format!("{} {id}: no event tells that it was made", T::TABLE)),
            }
        }
        check(node, head, &facts, &mut found).await?;
    }
}

impl Told for Agreement {
    const TABLE: &'static str = "agreements";
    const MADE_BY: (&'static str, &'static str) = ("AgreementFunded", "id");

    fn facts(self, contract: Address, id: B256, _: u64) -> Vec<Fact> {
        let Self { status, funded, released, window_ends, .. } = self;
        let what = format!("agreement {id} is {}, {funded} funded, {released} released, window {window_ends:?}", status.as_str());
        vec![Fact::new(contract, what, agreementOfCall { id }, move |actual| {
            self::status(actual.status) == status.as_str()
                && (U256::from(actual.funded), U256::from(actual.released)) == (funded, released)
                && actual.windowEnds.to::<u64>() == window_ends.unwrap_or_default()
        })]
    }
}

/// The contract's number of a state, as the mirror calls it.
fn status(number: u8) -> &'static str {
    ["none", "funded", "delivered", "disputed", "released", "refunded", "resolved"].get(usize::from(number)).unwrap_or(&"unknown")
}

impl Told for Subscription {
    const TABLE: &'static str = "subscriptions";
    const MADE_BY: (&'static str, &'static str) = ("SubscriptionCreated", "id");

    fn facts(self, contract: Address, id: B256, _: u64) -> Vec<Fact> {
        let Self { charged, price, next_period, end_period, .. } = self;
        let what = format!("subscription {id}: {charged} charged, price {price}, next period {next_period}, end {end_period:?}");
        vec![Fact::new(contract, what, subscriptionOfCall { id }, move |actual| {
            (U256::from(actual.charged), U256::from(actual.price)) == (charged, price)
                && u64::from(actual.nextPeriod) == next_period
                && u64::from(actual.endPeriod) == end_period.unwrap_or(NEVER)
        })]
    }
}

impl Told for Service {
    const TABLE: &'static str = "services";
    const MADE_BY: (&'static str, &'static str) = ("ServiceRegistered", "service");

    fn facts(mut self, contract: Address, id: B256, time: u64) -> Vec<Fact> {
        self.advance(time);
        let Self { settled, disputed, volume, score_sum, .. } = self;
        let rated = format!("service {id}: {settled} settled, {disputed} disputed, volume {volume}, scores {score_sum}");
        let rated = Fact::new(contract, rated, reputationOfCall { id }, move |actual| {
            (u64::from(actual.settled), u64::from(actual.disputed)) == (settled, disputed)
                && (U256::from(actual.volume), U256::from(actual.scoreSum)) == (volume, score_sum)
        });
        let what = format!("service {id} {self:?}");
        let stands = Fact::new(contract, what, serviceOfCall { id }, move |actual| {
            let announced =
                self.announced.map_or((Address::ZERO, Address::ZERO, 0), |next| (next.payee, next.arbiter, next.from));
            (actual.owner, actual.pendingOwner) == (self.owner, self.pending_owner.unwrap_or_default())
                && (actual.payee, actual.arbiter, actual.retired) == (self.payee, self.arbiter, self.retired)
                && (actual.announcedPayee, actual.announcedArbiter, actual.changesAt.to::<u64>()) == announced
                && (U256::from(actual.stake), U256::from(actual.unbonding)) == (self.stake, self.unbonding)
                && (actual.token, U256::from(actual.price)) == (self.offer.token, self.offer.price)
        });
        vec![rated, stands]
    }
}
