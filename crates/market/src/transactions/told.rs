//! What the chain does with purchases through the escrow, told as what the ledger does is.
//!
//! Events of the mirror are told as soon as they count, and looked at again until their blocks are final, because a reorganisation may move them. That
//! a purchase reached a status is a row, written in the transaction that tells it: whatever is looked at again, by whichever instance, is told once.

use std::collections::HashMap;

use alloy::primitives::B256;
use indexer::read::{self, Event, EventFilter, Order, Position, Span};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{chain, steps};
use crate::{db, service::Market};

/// Events of the escrow in one statement, and statements in one look.
const EVENTS_MAX: u32 = 1_000;
const PAGES_MAX: usize = 5;

/// Tells what is new since the newest block was `seen`.
pub(super) async fn look(market: &Market, seen: &mut Option<B256>) -> sqlx::Result<()> {
    let escrow = market.deployment.escrow;
    let status = read::status(&mut *market.pool.acquire().await?).await?;
    let status = status.filter(|mirror| mirror.chain_id == market.deployment.chain_id && !escrow.is_zero());
    let Some((head, finality)) = status.and_then(|status| Some((status.indexed?, status.finality_blocks))) else { return Ok(()) };
    if *seen == Some(head.hash) {
        return Ok(());
    }
    let Some(newest) = (head.number + 1).checked_sub(market.terms.confirmations) else { return Ok(()) };
    let mut tx = pg::begin(&market.pool).await?;
    // Of several instances one looks.
    let state = "SELECT block_number, log_index, since FROM transaction_news FOR UPDATE SKIP LOCKED";
    let Some(state) = sqlx::query(state).fetch_optional(&mut *tx).await? else { return Ok(()) };
    let (block, log): (i64, i64) = (state.try_get("block_number")?, state.try_get("log_index")?);
    let before = Position { block: block.unsigned_abs(), log: u32::try_from(log).unwrap_or(u32::MAX), part: 0 };
    let since: OffsetDateTime = state.try_get("since")?;
    let (mut after, mut is_all) = (before, false);
    for _ in 0..PAGES_MAX {
        let filter = EventFilter {
            contract: Some(escrow),
            blocks: Span { from: None, to: Some(newest) },
            after: Some(after),
            order: Order::Asc,
            limit: EVENTS_MAX,
            ..EventFilter::default()
        };
        let events = read::events(&mut tx, &filter).await?;
        after = events.last().map_or(after, |event| event.place.position());
        tell(&mut tx, &events, newest, since).await?;
        if events.len() < EVENTS_MAX as usize {
            is_all = true;
            break;
        }
    }
    let last = head.number.checked_sub(finality).map_or(before, |last| Position::end_of(last.min(newest)));
    // What is not final yet is looked at again.
    let upto = after.min(last);
    if upto > before {
        let done = sqlx::query("UPDATE transaction_news SET block_number = $1, log_index = $2");
        let done = done.bind(i64::try_from(upto.block).unwrap_or(i64::MAX)).bind(i64::from(upto.log));
        done.execute(&mut *tx).await?;
    }
    tx.commit().await?;
    if is_all {
        *seen = Some(head.hash);
    }
    Ok(())
}

/// Tells of events whose purchases had not come so far.
async fn tell(conn: &mut PgConnection, events: &[Event], upto: u64, since: OffsetDateTime) -> sqlx::Result<()> {
    let news: Vec<(B256, &Event)> = events
        .iter()
        .filter(|event| event.place.timestamp >= since)
        .filter_map(|event| Some((chain::argument(event, "id")?.parse::<B256>().ok()?, event)))
        .collect();
    if news.is_empty() {
        return Ok(());
    }
    // Whoever likes may use the escrow without the market.
    let ours = sqlx::query("SELECT id, agreement_id FROM transactions WHERE agreement_id = ANY($1)");
    let ours = ours.bind(news.iter().map(|(id, _)| id.to_vec()).collect::<Vec<_>>()).fetch_all(&mut *conn).await?;
    let ours: HashMap<B256, Uuid> =
        ours.iter().map(|row| Ok((db::hash(row, "agreement_id")?, row.try_get("id")?))).collect::<sqlx::Result<_>>()?;
    let ids: Vec<B256> = ours.keys().copied().collect();
    let agreements = read::agreements_of(conn, &ids, Some(upto)).await?;
    for (agreement, event) in news {
        let (Some(id), Some(found)) = (ours.get(&agreement), agreements.get(&agreement)) else { continue };
        let Some(to) = chain::reached(event, found.state.funded.saturating_to()) else { continue };
        let first = "INSERT INTO transaction_told (transaction_id, status) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let first = sqlx::query(first).bind(id).bind(db::name_of(to)).execute(&mut *conn).await?;
        if first.rows_affected() == 1 {
            steps::tell(&mut *conn, *id, to).await?;
        }
    }
    Ok(())
}
