//! Folds what is new into the figures: a cycle costs what is new, whatever the market has behind it.

use std::collections::HashMap;

use alloy::primitives::Address;
use api::ledger::Asset;
use indexer::read::Position;
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    facts::{self, Flow, Outcome, Trade},
    totals::Totals,
    weigh::{Money, Pair, Parts},
};

/// Nobody waits for this.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";

/// Folds the next transfers of the ledger, at most so many, as many settled payments, and what ended in the escrow, if there is one. How many
/// transfers and purchases there were; `None` while another instance folds.
///
/// # Errors
/// When the database fails; then nothing is folded.
pub async fn fold(pool: &PgPool, escrow: Address, most: i64) -> sqlx::Result<Option<u64>> {
    let mut tx = pg::begin(pool).await?;
    sqlx::query(STATEMENT_TIMEOUT).execute(&mut *tx).await?;
    // The row of `ledger` may be older than the one that is locked: another instance may have folded more in between.
    let state =
        "SELECT s.ledger_to, greatest(s.ledger_to, least(l.last_id, s.ledger_to + $1)) AS upto, s.escrow_block, s.escrow_log
         FROM standing AS s, ledger AS l FOR UPDATE OF s SKIP LOCKED";
    let Some(state) = sqlx::query(state).bind(most).fetch_optional(&mut *tx).await? else { return Ok(None) };
    let (from, upto): (i64, i64) = (state.try_get("ledger_to")?, state.try_get("upto")?);
    let mut trades = facts::payments(&mut tx, most).await?;
    trades.extend(facts::refunds(&mut tx, most).await?);
    let mut flows = Vec::new();
    if upto > from {
        trades.extend(facts::sales(&mut tx, from, upto).await?);
        flows = facts::flows(&mut tx, from, upto).await?;
    }
    let after = position(&state)?;
    let mut ended = after;
    if !escrow.is_zero() {
        let (more, upto) = facts::agreements(&mut tx, escrow, after).await?;
        trades.extend(more);
        ended = upto;
    }
    let count = (upto - from).unsigned_abs() + trades.len() as u64;
    if !trades.is_empty() || !flows.is_empty() {
        apply(&mut tx, &trades, &flows).await?;
    }
    if (upto, ended) != (from, after) {
        let done = "UPDATE standing SET ledger_to = $1, escrow_block = $2, escrow_log = $3";
        let done = sqlx::query(done).bind(upto).bind(i64::try_from(ended.block).unwrap_or(i64::MAX)).bind(i64::from(ended.log));
        done.execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(Some(count))
}

fn position(row: &PgRow) -> sqlx::Result<Position> {
    let (block, log): (i64, i64) = (row.try_get("escrow_block")?, row.try_get("escrow_log")?);
    Ok(Position { block: block.unsigned_abs(), log: u32::try_from(log).unwrap_or(u32::MAX), part: u32::MAX })
}

async fn apply(conn: &mut PgConnection, trades: &[Trade], flows: &[Flow]) -> sqlx::Result<()> {
    let weights = people(conn, trades, flows).await?;
    let mut totals = Totals::of(trades);
    for (seller, parts) in pairs(conn, trades, &weights).await? {
        totals.agent(seller).parts.add(parts, 1);
    }
    totals.write(conn).await
}

/// What persons weighed, and weigh now.
struct Weights(HashMap<Uuid, (i64, i64)>);

impl Weights {
    fn of(&self, person: Uuid) -> (i64, i64) {
        self.0.get(&person).copied().unwrap_or_default()
    }

    fn changed(&self) -> Vec<Uuid> {
        self.0.iter().filter(|(_, (before, now))| before != now).map(|(person, _)| *person).collect()
    }
}

/// Keeps what persons brought and lost.
async fn people(conn: &mut PgConnection, trades: &[Trade], flows: &[Flow]) -> sqlx::Result<Weights> {
    let mut moved: HashMap<Uuid, Money> = trades.iter().map(|trade| (trade.person, Money::default())).collect();
    for flow in flows {
        let money = moved.entry(flow.person).or_default();
        money.deposited = money.deposited.saturating_add(flow.amount.max(0));
        money.withdrawn = money.withdrawn.saturating_sub(flow.amount.min(0));
    }
    for trade in trades.iter().filter(|trade| trade.buyer.is_some() && trade.asset == Asset::Usdc) {
        let sign = if trade.outcome == Outcome::Reversed { -1 } else { 1 };
        let money = moved.entry(trade.person).or_default();
        money.fees = money.fees.saturating_add(sign * trade.fee);
        let money = moved.entry(trade.seller_person).or_default();
        money.earned = money.earned.saturating_add(sign * (trade.price - trade.fee));
    }
    let persons: Vec<Uuid> = moved.keys().copied().collect();
    let rows = sqlx::query("SELECT * FROM persons WHERE person = ANY($1)").bind(&persons).fetch_all(&mut *conn).await?;
    let mut weights: HashMap<Uuid, (i64, i64)> = HashMap::new();
    for row in &rows {
        let person = row.try_get("person")?;
        let units = |column: &str| row.try_get::<i64, _>(column);
        let money = moved.entry(person).or_default();
        money.deposited = money.deposited.saturating_add(units("deposited")?);
        money.withdrawn = money.withdrawn.saturating_add(units("withdrawn")?);
        money.earned = money.earned.saturating_add(units("earned")?);
        money.fees = money.fees.saturating_add(units("fees")?);
        weights.insert(person, (row.try_get::<i16, _>("weight")?.into(), 0));
    }
    for (person, money) in &moved {
        weights.entry(*person).or_default().1 = money.weight();
    }
    let column = |of: fn(&Money) -> i64| persons.iter().map(|person| of(&moved[person])).collect::<Vec<_>>();
    let keep = "INSERT INTO persons (person, deposited, withdrawn, earned, fees, weight)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
         ON CONFLICT (person) DO UPDATE SET deposited = excluded.deposited, withdrawn = excluded.withdrawn, earned = excluded.earned,
             fees = excluded.fees, weight = excluded.weight";
    sqlx::query(keep)
        .bind(&persons)
        .bind(column(|money| money.deposited))
        .bind(column(|money| money.withdrawn))
        .bind(column(|money| money.earned))
        .bind(column(|money| money.fees))
        .bind(column(|money| money.weight()))
        .execute(conn)
        .await?;
    Ok(Weights(weights))
}

/// Keeps who bought from whom: by how much the sums of each seller change, also because a buyer weighs more or less by now.
async fn pairs(conn: &mut PgConnection, trades: &[Trade], weights: &Weights) -> sqlx::Result<HashMap<Uuid, Parts>> {
    let mut new: HashMap<(Uuid, Uuid), Pair> = HashMap::new();
    for trade in trades.iter().filter(|trade| trade.person != trade.seller_person) {
        let pair = new.entry((trade.seller, trade.person)).or_default();
        let paid = if trade.asset == Asset::Usdc { trade.price } else { 0 };
        match trade.outcome {
            Outcome::Good => {
                (pair.paid, pair.good) = (pair.paid.saturating_add(paid), pair.good + 1);
                pair.good_day = pair.good_day.max(trade.ended);
            }
            Outcome::Reversed => {
                (pair.good, pair.bad) = (pair.good - 1, pair.bad + 1);
                pair.bad_day = pair.bad_day.max(trade.ended);
            }
            Outcome::Ruled => {
                pair.bad += 1;
                pair.bad_day = pair.bad_day.max(trade.ended);
            }
            Outcome::Refunded => {}
        }
    }
    let (sellers, persons): (Vec<Uuid>, Vec<Uuid>) = new.keys().copied().unzip();
    let kept = "SELECT c.* FROM unnest($1::uuid[], $2::uuid[]) AS new (seller_id, person) JOIN counterparties AS c USING (seller_id, person)
         UNION SELECT * FROM counterparties WHERE person = ANY($3)";
    let kept = sqlx::query(kept).bind(sellers).bind(persons).bind(weights.changed()).fetch_all(&mut *conn).await?;
    let mut sums: HashMap<Uuid, Parts> = HashMap::new();
    let mut written: Vec<((Uuid, Uuid), Pair)> = Vec::with_capacity(new.len());
    let mut change = |key: (Uuid, Uuid), before: Pair, now: Pair| {
        let (weighed, weighs) = weights.of(key.1);
        let sum = sums.entry(key.0).or_default();
        sum.add(before.parts(weighed), -1);
        sum.add(now.parts(weighs), 1);
    };
    for row in &kept {
        let (key, before) = pair(row)?;
        let more = new.remove(&key).unwrap_or_default();
        let now = Pair {
            paid: before.paid.saturating_add(more.paid),
            good: before.good + more.good,
            bad: before.bad + more.bad,
            good_day: before.good_day.max(more.good_day),
            bad_day: before.bad_day.max(more.bad_day),
        };
        change(key, before, now);
        if now != before {
            written.push((key, now));
        }
    }
    for (key, now) in new.into_iter().filter(|(_, now)| *now != Pair::default()) {
        change(key, Pair::default(), now);
        written.push((key, now));
    }
    write_pairs(conn, &written).await?;
    Ok(sums)
}

fn pair(row: &PgRow) -> sqlx::Result<((Uuid, Uuid), Pair)> {
    let pair = Pair {
        paid: row.try_get("paid")?,
        good: row.try_get("good")?,
        bad: row.try_get("bad")?,
        good_day: row.try_get("good_day")?,
        bad_day: row.try_get("bad_day")?,
    };
    Ok(((row.try_get("seller_id")?, row.try_get("person")?), pair))
}

async fn write_pairs(conn: &mut PgConnection, pairs: &[((Uuid, Uuid), Pair)]) -> sqlx::Result<()> {
    let keep = "INSERT INTO counterparties (seller_id, person, paid, good, bad, good_day, bad_day)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[])
         ON CONFLICT (seller_id, person) DO UPDATE SET paid = excluded.paid, good = excluded.good, bad = excluded.bad,
             good_day = excluded.good_day, bad_day = excluded.bad_day";
    let rows = pairs.iter();
    sqlx::query(keep)
        .bind(rows.clone().map(|((seller, _), _)| *seller).collect::<Vec<_>>())
        .bind(rows.clone().map(|((_, person), _)| *person).collect::<Vec<_>>())
        .bind(rows.clone().map(|(_, pair)| pair.paid).collect::<Vec<_>>())
        .bind(rows.clone().map(|(_, pair)| pair.good).collect::<Vec<_>>())
        .bind(rows.clone().map(|(_, pair)| pair.bad).collect::<Vec<_>>())
        .bind(rows.clone().map(|(_, pair)| pair.good_day).collect::<Vec<_>>())
        .bind(rows.map(|(_, pair)| pair.bad_day).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}
