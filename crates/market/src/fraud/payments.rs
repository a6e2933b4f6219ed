//! What there is to judge: what moved in the ledger, and what was paid by x402.

use std::collections::HashMap;

use alloy::primitives::Address;
use api::ledger::{Asset, Kind, Leg, Transfer};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{db, limits::Principal};

/// What moved money, as far as rules go by it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    /// Somebody paid.
    Paid(Payment),
    /// Money came from outside, from a wallet.
    Came { agent: Uuid, wallet: Uuid, worth: i64 },
}

/// What says that somebody paid: a transfer of the ledger, or a purchase by x402.
#[derive(Clone, Copy, Debug)]
pub(super) enum Evidence {
    Transfer(i64),
    Purchase(Uuid),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Payment {
    pub(super) evidence: Evidence,
    pub(super) at: OffsetDateTime,
    /// The agent; of a payment by x402 an agent with the wallet, else the wallet.
    pub(super) payer: Uuid,
    /// What payments are counted by: the agent, or the wallet that signed.
    pub(super) account: Uuid,
    pub(super) payee: Uuid,
    /// In base units of USDC.
    pub(super) worth: i64,
    pub(super) is_sale: bool,
}

impl Payment {
    /// Days from 1970 in UTC.
    pub(super) fn day(&self) -> i32 {
        i32::try_from(self.at.unix_timestamp().div_euclid(86_400)).unwrap_or_default()
    }
}

/// What moved after one transfer, up to another.
pub(super) async fn happened(conn: &mut PgConnection, from: i64, upto: i64) -> sqlx::Result<Vec<Happened>> {
    let moved = "SELECT t.body, s.buyer_id, s.seller_id, d.payer FROM transfers AS t LEFT JOIN sales AS s ON s.transfer = t.id
             LEFT JOIN deposits AS d ON t.kind = $3 AND d.id = t.reference
         WHERE t.id > $1 AND t.id <= $2 AND t.kind IN ($3, $4, $5) ORDER BY t.id";
    let moved = sqlx::query(moved).bind(from).bind(upto);
    let moved = moved.bind(Kind::Deposit as i16).bind(Kind::Sale as i16).bind(Kind::Transfer as i16);
    let rows = moved.fetch_all(&mut *conn).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let transfer = Transfer::from_body(row.try_get("body")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let parties: (Option<Uuid>, Option<Uuid>) = (row.try_get("buyer_id")?, row.try_get("seller_id")?);
        all.push((transfer, parties, db::maybe_address(row, "payer")?));
    }
    let accounts: Vec<i64> =
        all.iter().flat_map(|(transfer, ..)| transfer.legs.iter().map(|leg| leg.account.cast_signed())).collect();
    let owners = sqlx::query("SELECT id, owner FROM accounts WHERE id = ANY($1)").bind(accounts).fetch_all(conn).await?;
    let owners: HashMap<i64, Uuid> =
        owners.iter().map(|row| Ok((row.try_get("id")?, row.try_get("owner")?))).collect::<sqlx::Result<_>>()?;
    let owner = |leg: &Leg| owners.get(&leg.account.cast_signed()).copied();
    let read = |(transfer, parties, wallet): (Transfer, (Option<Uuid>, Option<Uuid>), Option<Address>)| {
        let gives = transfer.legs.iter().find(|leg| leg.amount < 0)?;
        let gets = transfer.legs.iter().find(|leg| leg.amount > 0)?;
        if transfer.kind == Kind::Deposit {
            let wallet = Principal::Wallet(wallet?).person()?;
            return Some(Happened::Came { agent: owner(gets)?, wallet, worth: gets.amount });
        }
        // The first leg of a sale is the buyer's, minus the price.
        let (payer, payee) = (parties.0.or_else(|| owner(gives))?, parties.1.or_else(|| owner(gets))?);
        let gives = transfer.legs.first()?;
        let units = gives.amount.saturating_neg();
        let worth = if gives.asset == Asset::Usdc { units } else { units / 1_000 };
        let (evidence, is_sale) = (Evidence::Transfer(transfer.id.cast_signed()), transfer.kind == Kind::Sale);
        Some(Happened::Paid(Payment { evidence, at: transfer.at, payer, account: payer, payee, worth, is_sale }))
    };
    Ok(all.into_iter().filter_map(read).collect())
}

/// Payments by x402 that settled and were not judged, which they are from now on, and what there is to know of wallets that no agent has.
pub(super) async fn settled(conn: &mut PgConnection, most: i64) -> sqlx::Result<(Vec<Payment>, HashMap<Uuid, Known>)> {
    let settled = "WITH new AS (UPDATE purchases SET judged = TRUE WHERE id IN (
             SELECT id FROM purchases WHERE status = 'settled' AND NOT judged ORDER BY settled_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING id, seller_id, payer, amount, settled_at)
         SELECT n.id, n.seller_id, n.payer, n.amount, n.settled_at, (
                 SELECT a.id FROM agents AS a WHERE a.wallet = n.payer ORDER BY a.creator_id IS NULL, a.id LIMIT 1) AS agent_id
         FROM new AS n ORDER BY n.settled_at, n.id";
    let rows = sqlx::query(settled).bind(most).fetch_all(conn).await?;
    let (mut payments, mut wallets) = (Vec::with_capacity(rows.len()), HashMap::new());
    for row in &rows {
        let wallet = db::address(row, "payer")?;
        let Some(account) = Principal::Wallet(wallet).person() else { continue };
        let agent: Option<Uuid> = row.try_get("agent_id")?;
        if agent.is_none() {
            // Nobody knows since when there is such a wallet.
            wallets.insert(account, Known { person: account, wallet, created_at: OffsetDateTime::UNIX_EPOCH });
        }
        payments.push(Payment {
            evidence: Evidence::Purchase(row.try_get("id")?),
            at: row.try_get("settled_at")?,
            payer: agent.unwrap_or(account),
            account,
            payee: row.try_get("seller_id")?,
            worth: row.try_get("amount")?,
            is_sale: true,
        });
    }
    Ok((payments, wallets))
}

/// What there is to know of an agent, or of a wallet without one.
pub(super) struct Known {
    pub(super) person: Uuid,
    pub(super) wallet: Address,
    pub(super) created_at: OffsetDateTime,
}
