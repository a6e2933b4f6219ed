//! What is asked for together with money, written in the same transaction: neither is ever there without the other.

use std::collections::HashMap;

use alloy::primitives::Address;
use api::ledger::{Amount, Asset};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Hold, Key, Move, Order, Posted, Refused, What, batch::Batch};

/// USDC is to be paid out on chain.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// Who asks: an agent or a creator.
    pub owner: Uuid,
    /// Who is behind that.
    pub person: Uuid,
    /// Who is paid.
    pub recipient: Address,
    /// What one person may withdraw in 24 hours, this included.
    pub day_max: Amount,
    /// What of it needs nobody's approval.
    pub unapproved_max: Amount,
}

/// Money is sent to somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// Who is behind the agent that sends.
    pub person: Uuid,
    /// What one person may send in 24 hours, this included, in USDC.
    pub day_max: Amount,
}

/// Somebody decided to undo what was done.
#[derive(Clone, Debug)]
pub struct Undoing {
    /// The creator with a role who did.
    pub by: Uuid,
    /// Why.
    pub reason: String,
}

/// ARD is to be redeemed for something outside the ledger.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Who asks.
    pub owner: Uuid,
    /// For what, as in the API.
    pub method: String,
    /// Where to hand it over.
    pub details: Option<String>,
    /// Whether an operator has to approve.
    pub needs_approval: bool,
    /// The month whose payout it is, if it is one.
    pub payout_month: Option<String>,
}

impl Batch {
    pub(super) fn withdraw(&mut self, hold: &Hold, asked: &Withdrawal, key: Option<Key>) -> Result<Posted, Refused> {
        let day = within(asked.day_max, self.withdrawn.get(&asked.person), hold.amount.signed())?;
        let posted = self.hold(hold, key)?;
        self.withdrawn.insert(asked.person, day);
        let status = if day > asked.unapproved_max.signed() { "awaiting_approval" } else { "pending" };
        self.withdrawals.push((hold.clone(), asked.clone(), status));
        Ok(posted)
    }

    pub(super) fn send(&mut self, moved: &Move, asked: &Sending, key: Option<Key>) -> Result<Posted, Refused> {
        let worth = worth(self.accounts.asset(moved.from)?, moved.amount);
        let day = within(asked.day_max, self.sent.get(&asked.person), worth)?;
        let posted = self.transfer(moved, key)?;
        self.sent.insert(asked.person, day);
        self.sends.push((posted.transfer, *asked, worth));
        Ok(posted)
    }

    pub(super) fn undo(&mut self, id: u64, undoing: Option<&Undoing>, key: Option<Key>) -> Result<Posted, Refused> {
        let posted = self.reverse(id, key)?;
        if let Some(undoing) = undoing {
            let payer = self.lines.last().map_or(posted.reference, |line| self.accounts.owner(&line.transfer.legs[0]));
            let subject = if posted.reference.is_nil() { payer } else { posted.reference };
            self.undone.push((subject, id, undoing.clone()));
        }
        Ok(posted)
    }

    pub(super) fn redeem(&mut self, hold: &Hold, asked: &Redemption, key: Option<Key>) -> Result<Posted, Refused> {
        let posted = self.hold(hold, key)?;
        self.redemptions.push((hold.clone(), asked.clone()));
        Ok(posted)
    }

    pub(super) async fn write_requests(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        for (hold, asked, status) in &self.withdrawals {
            sqlx::query("INSERT INTO withdrawals (id, owner, person, recipient, amount, status) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(hold.id)
                .bind(asked.owner)
                .bind(asked.person)
                .bind(asked.recipient.as_slice())
                .bind(hold.amount.signed())
                .bind(status)
                .execute(&mut *conn)
                .await?;
        }
        for (transfer, asked, worth) in &self.sends {
            sqlx::query("INSERT INTO sends (transfer, person, worth, at) VALUES ($1, $2, $3, $4)")
                .bind(transfer.cast_signed())
                .bind(asked.person)
                .bind(worth)
                .bind(self.at)
                .execute(&mut *conn)
                .await?;
        }
        for (subject, transfer, undoing) in &self.undone {
            sqlx::query("INSERT INTO decisions (subject, what, decided_by, reason) VALUES ($1, 'transfer_reversed', $2, $3)")
                .bind(subject)
                .bind(undoing.by)
                .bind(format!("transfer {transfer}: {}", undoing.reason))
                .execute(&mut *conn)
                .await?;
        }
        for (hold, asked) in &self.redemptions {
            sqlx::query("INSERT INTO redemptions (id, owner, method, amount, details, status, payout_month) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                .bind(hold.id)
                .bind(asked.owner)
                .bind(&asked.method)
                .bind(hold.amount.signed())
                .bind(&asked.details)
                .bind(if asked.needs_approval { "pending" } else { "processing" })
                .bind(&asked.payout_month)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}

/// What those who ask now have withdrawn in the last 24 hours.
pub(super) async fn withdrawn(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, i64>> {
    let persons: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match &order.what {
            What::Withdraw(_, asked) => Some(asked.person),
            _ => None,
        })
        .collect();
    if persons.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT person, sum(amount)::bigint AS sum FROM withdrawals
         WHERE person = ANY($1) AND created_at > now() - interval '24 hours' AND status NOT IN ('rejected', 'cancelled', 'failed')
         GROUP BY person",
    );
    rows.bind(persons).fetch_all(conn).await?.iter().map(|row| Ok((row.try_get("person")?, row.try_get("sum")?))).collect()
}

/// The worth of what those who send now have sent in the last 24 hours.
pub(super) async fn sent(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<HashMap<Uuid, i64>> {
    let persons: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match &order.what {
            What::Send(_, asked) => Some(asked.person),
            _ => None,
        })
        .collect();
    if persons.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT person, least(sum(worth), 9223372036854775807)::bigint AS sum FROM sends
         WHERE person = ANY($1) AND at > now() - interval '24 hours' GROUP BY person",
    );
    rows.bind(persons).fetch_all(conn).await?.iter().map(|row| Ok((row.try_get("person")?, row.try_get("sum")?))).collect()
}

/// What a day comes to with this.
fn within(day_max: Amount, before: Option<&i64>, more: i64) -> Result<i64, Refused> {
    let before = before.copied().unwrap_or_default();
    let day = before.saturating_add(more);
    let left = || super::amount(day_max.signed().saturating_sub(before));
    if day > day_max.signed() { Err(Refused::OverDayLimit { limit: day_max, left: left() }) } else { Ok(day) }
}

/// In base units of USDC, rounded up.
fn worth(asset: Asset, amount: Amount) -> i64 {
    match asset {
        Asset::Usdc => amount.signed(),
        Asset::Ard => amount.units().div_ceil(1_000).cast_signed(),
    }
}
