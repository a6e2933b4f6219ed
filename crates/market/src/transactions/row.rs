//! Purchases in steps as they are written down.

use alloy::primitives::{Address, B256};
use api::{
    PaymentMethod,
    ledger::{Amount, Asset},
};
use sqlx::{PgConnection, Row, postgres::PgRow, types};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    chain::Agreed,
    machine::{State, Terms},
};
use crate::{auth::Caller, db, ledger, problem::Problem, service::Market};

/// A purchase in steps.
#[derive(Clone, Debug)]
pub(super) struct Deal {
    pub(super) id: Uuid,
    pub(super) listing_id: Uuid,
    pub(super) seller_id: Uuid,
    pub(super) buyer: Address,
    pub(super) initiator_id: Option<Uuid>,
    pub(super) method: PaymentMethod,
    pub(super) price: Amount,
    /// Of the hold of the bond of a dispute, if one has to be put up.
    pub(super) bond_id: Option<Uuid>,
    pub(super) content_hash: B256,
    pub(super) content_size: u64,
    pub(super) content_type: String,
    pub(super) read_at: Option<OffsetDateTime>,
    pub(super) created_at: OffsetDateTime,
    pub(super) by: By,
}

/// Who says where a purchase stands.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// The row, and the hold of its id.
    Ledger(Box<(State, Terms)>),
    /// The mirror of the chain.
    Chain(Box<Agreed>),
}

impl Deal {
    pub(super) fn asset(&self) -> Asset {
        asset(self.method)
    }

    /// The agent that the ledger pays for; through the escrow also the buyer's wallet: whoever funds the terms got them from the agent.
    pub(super) fn buys(&self, caller: &Caller) -> Result<bool, Problem> {
        let wallet = caller.wallet()?;
        let is_started_by = self.initiator_id.is_some() && self.initiator_id == caller.agent_id();
        Ok(is_started_by || (self.method == PaymentMethod::Escrow && self.buyer == wallet))
    }

    pub(super) fn sells(&self, caller: &Caller) -> bool {
        caller.agent_id() == Some(self.seller_id)
    }

    pub(super) fn state(&self) -> Option<&State> {
        if let By::Ledger(of) = &self.by { Some(&of.0) } else { None }
    }

    pub(super) fn agreed(&self) -> Option<&Agreed> {
        if let By::Chain(agreed) = &self.by { Some(agreed) } else { None }
    }
}

pub(super) fn asset(method: PaymentMethod) -> Asset {
    if method == PaymentMethod::Token { Asset::Ard } else { Asset::Usdc }
}

pub(super) async fn find(market: &Market, id: Uuid) -> Result<Deal, Problem> {
    let row = sqlx::query("SELECT * FROM transactions WHERE id = $1").bind(id).fetch_optional(&market.pool).await?;
    Ok(deal(&row.ok_or_else(|| Problem::not_found("transaction of yours"))?)?)
}

/// The purchase, locked until the end of the transaction, and the time of the database, which is the same for all instances. None while somebody
/// else has it locked, if that is not to be waited for.
pub(super) async fn locked(conn: &mut PgConnection, id: Uuid, may_wait: bool) -> sqlx::Result<Option<(Deal, OffsetDateTime)>> {
    let (wait, skip) = (
        "SELECT *, clock_timestamp() AS now FROM transactions WHERE id = $1 FOR UPDATE",
        "SELECT *, clock_timestamp() AS now FROM transactions WHERE id = $1 FOR UPDATE SKIP LOCKED",
    );
    let row = sqlx::query(if may_wait { wait } else { skip }).bind(id).fetch_optional(conn).await?;
    row.map(|row| Ok((deal(&row)?, row.try_get("now")?))).transpose()
}

pub(super) fn deal(row: &PgRow) -> sqlx::Result<Deal> {
    let units = |column| row.try_get::<i64, _>(column).map(ledger::amount);
    let (method, price): (PaymentMethod, _) = (db::named(row, "method")?, units("price")?);
    let by = match method {
        PaymentMethod::Escrow => By::Chain(Box::new(agreed(row)?)),
        PaymentMethod::Balance | PaymentMethod::Token => By::Ledger(Box::new((state(row)?, terms(row, price)?))),
    };
    Ok(Deal {
        id: row.try_get("id")?,
        listing_id: row.try_get("listing_id")?,
        seller_id: row.try_get("seller_id")?,
        buyer: db::address(row, "buyer")?,
        initiator_id: row.try_get("initiator_id")?,
        method,
        price,
        bond_id: row.try_get("bond_id")?,
        content_hash: db::hash(row, "content_hash")?,
        content_size: row.try_get::<i64, _>("content_size")?.unsigned_abs(),
        content_type: row.try_get("content_type")?,
        read_at: row.try_get("read_at")?,
        created_at: row.try_get("created_at")?,
        by,
    })
}

fn agreed(row: &PgRow) -> sqlx::Result<Agreed> {
    Ok(Agreed {
        chain_id: row.try_get::<i64, _>("chain_id")?.unsigned_abs(),
        escrow: db::address(row, "escrow")?,
        id: db::hash(row, "agreement_id")?,
        terms: row.try_get::<types::Json<_>, _>("terms")?.0,
    })
}

fn state(row: &PgRow) -> sqlx::Result<State> {
    let step: Option<&str> = row.try_get("step")?;
    let effect = if step.is_some() { Some(db::named(row, "step")?) } else { None };
    let bond: Option<&str> = row.try_get("bond_state")?;
    let bond = if bond.is_some() { Some(db::named(row, "bond_state")?) } else { None };
    Ok(State {
        status: db::named(row, "status")?,
        effect,
        due_at: row.try_get("due_at")?,
        given_back: ledger::amount(row.try_get("given_back")?),
        to_seller: row.try_get::<Option<i64>, _>("to_seller")?.map(ledger::amount),
        cancel_wanted: row.try_get("cancel_wanted")?,
        bond,
        ruled: row.try_get("ruled")?,
    })
}

fn terms(row: &PgRow, price: Amount) -> sqlx::Result<Terms> {
    let seconds = |column| row.try_get::<i64, _>(column).map(Duration::seconds);
    Ok(Terms {
        price,
        bond: ledger::amount(row.try_get("bond")?),
        deliver_within: seconds("deliver_seconds")?,
        review: seconds("review_seconds")?,
        arbitration: seconds("arbitration_seconds")?,
        default_outcome: db::named(row, "default_outcome")?,
    })
}
