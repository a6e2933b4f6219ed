//! What is asked for together with a hold, written in the same transaction: neither is ever there without the other.

use std::collections::HashMap;

use alloy::primitives::Address;
use api::ledger::Amount;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Hold, Key, Order, Posted, Refused, What, batch::Batch};

/// USDC is to be paid out on chain.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// Who asks.
    pub agent: Uuid,
    /// Who is paid.
    pub recipient: Address,
    /// What one agent may withdraw in 24 hours, this included.
    pub day_max: Amount,
    /// What of it needs nobody's approval.
    pub unapproved_max: Amount,
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
        let before = self.withdrawn.get(&asked.agent).copied().unwrap_or_default();
        let day = before.saturating_add(hold.amount.signed());
        if day > asked.day_max.signed() {
            let left = super::amount(asked.day_max.signed() - before);
            return Err(Refused::OverDayLimit { limit: asked.day_max, left });
        }
        let posted = self.hold(hold, key)?;
        self.withdrawn.insert(asked.agent, day);
        let status = if day > asked.unapproved_max.signed() { "awaiting_approval" } else { "pending" };
        self.withdrawals.push((hold.clone(), asked.clone(), status));
        Ok(posted)
    }

    pub(super) fn redeem(&mut self, hold: &Hold, asked: &Redemption, key: Option<Key>) -> Result<Posted, Refused> {
        let posted = self.hold(hold, key)?;
        self.redemptions.push((hold.clone(), asked.clone()));
        Ok(posted)
    }

    pub(super) async fn write_requests(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        for (hold, asked, status) in &self.withdrawals {
            sqlx::query("INSERT INTO withdrawals (id, agent_id, recipient, amount, status) VALUES ($1, $2, $3, $4, $5)")
                .bind(hold.id)
                .bind(asked.agent)
                .bind(asked.recipient.as_slice())
                .bind(hold.amount.signed())
                .bind(status)
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
    let agents: Vec<Uuid> = orders
        .iter()
        .filter_map(|order| match &order.what {
            What::Withdraw(_, asked) => Some(asked.agent),
            _ => None,
        })
        .collect();
    if agents.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT agent_id, sum(amount)::bigint AS sum FROM withdrawals
         WHERE agent_id = ANY($1) AND created_at > now() - interval '24 hours' AND status NOT IN ('rejected', 'cancelled', 'failed')
         GROUP BY agent_id",
    );
    rows.bind(agents).fetch_all(conn).await?.iter().map(|row| Ok((row.try_get("agent_id")?, row.try_get("sum")?))).collect()
}
