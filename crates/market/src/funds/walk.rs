//! The custody account's transfers in final blocks, each dealt with once, in order.

use alloy::primitives::{Address, B256};
use contracts::Deployment;
use indexer::read::{self, EventFilter, Order, PaymentFilter, PaymentKind, Position, Span, Transfer, TransferFilter};
use sqlx::{PgConnection, Row};
use tracing::error;
use uuid::Uuid;

use crate::service::Market;

/// Transfers read at once. A transaction ends with the block in which a page ends: a block is dealt with whole, whatever it holds.
const PAGE: u32 = 5_000;
/// Whom a batch paid through the router, at most.
const PAYEES_MAX: u32 = 500;
/// Batches that a withdrawal is put into before it fails.
const ATTEMPTS_MAX: i16 = 5;

/// Walks on to the newest final block. Whether there is more to walk.
pub(super) async fn on(market: &Market, custody: Address) -> sqlx::Result<bool> {
    let mut tx = pg::begin(&market.pool).await?;
    let Some(status) = read::status(&mut tx).await?.filter(|mirror| mirror.chain_id == market.deployment.chain_id) else {
        return Ok(false);
    };
    if !status.everything {
        // What is passed over is not looked at again.
        error!("the mirror leaves out transfers to the custody account: run the indexer with --transfers all and without --raw");
        return Ok(false);
    }
    // Locked until the end: of several instances one walks.
    let walked = sqlx::query_scalar("SELECT walked_to FROM custody WHERE address = $1 FOR UPDATE").bind(custody.as_slice());
    let Some(walked): Option<i64> = walked.fetch_optional(&mut *tx).await? else {
        error!(%custody, "the ledger has another custody account by now: start this instance anew");
        return Ok(false);
    };
    let next = (walked + 1).unsigned_abs();
    let head = status.indexed.map_or(0, |head| head.number);
    let Some(newest) = head.checked_sub(status.finality_blocks).filter(|newest| *newest >= next) else {
        tx.commit().await?;
        return Ok(false);
    };
    let (mut last, mut after) = (newest, None);
    loop {
        let blocks = Span { from: Some(next), to: Some(last) };
        let filter =
            TransferFilter { account: Some(custody), blocks, after, order: Order::Asc, limit: PAGE, ..TransferFilter::default() };
        let transfers = read::transfers(&mut tx, &filter).await?;
        for transfer in &transfers {
            match (transfer.from == custody, transfer.to == custody) {
                (false, true) => came_in(&mut tx, custody, &market.deployment, transfer).await?,
                (true, false) => went_out(&mut tx, &market.deployment, transfer).await?,
                (true, true) | (false, false) => {}
            }
        }
        let Some(end) = transfers.last().filter(|_| transfers.len() >= PAGE as usize) else { break };
        after = Some(end.place.position());
        last = end.place.block_number.min(last);
    }
    let more = last < newest;
    let time = read::block(&mut tx, last).await?.map_or(0, |block| block.timestamp.unix_timestamp());
    // Every block that could have had it was walked.
    let expired = "UPDATE deposits SET status = 'expired' WHERE status = 'pending' AND valid_before <= $1";
    sqlx::query(expired).bind(time).execute(&mut *tx).await?;
    let void = sqlx::query_scalar("UPDATE batches SET status = 'void' WHERE status = 'open' AND valid_before <= $1 RETURNING id");
    let void: Vec<Uuid> = void.bind(time).fetch_all(&mut *tx).await?;
    sqlx::query(
        "UPDATE withdrawals SET batch_id = NULL, attempts = attempts + 1,
             status = CASE WHEN attempts + 1 < $2 THEN 'pending' ELSE 'failed' END,
             reason = CASE WHEN attempts + 1 < $2 THEN reason ELSE 'no batch with it could be paid: ask again' END,
             ended_at = CASE WHEN attempts + 1 < $2 THEN NULL ELSE now() END
         WHERE batch_id = ANY($1)",
    )
    .bind(void)
    .bind(ATTEMPTS_MAX)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE custody SET walked_to = $1").bind(int(last)).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(more)
}

/// Finds out whose it is and writes it down to be credited.
async fn came_in(conn: &mut PgConnection, custody: Address, deployment: &Deployment, transfer: &Transfer) -> sqlx::Result<()> {
    // Where an account is custody once more, the chain is walked once more.
    let known = "SELECT EXISTS (SELECT FROM deposits WHERE block_number = $1 AND log_index = $2)";
    let known = sqlx::query_scalar(known).bind(int(transfer.place.block_number)).bind(int32(transfer.place.log_index));
    if transfer.amount.is_zero() || known.fetch_one(&mut *conn).await? {
        return Ok(());
    }
    // An x402 payment is known by who signed it and its nonce, and may have been credited before.
    if let Some(nonce) = transfer.authorization_nonce {
        let paid = "SELECT id FROM deposits WHERE payer = $1 AND payer_nonce = $2";
        let paid = sqlx::query_scalar(paid).bind(transfer.from.as_slice()).bind(nonce.as_slice());
        if let Some(id) = paid.fetch_optional(&mut *conn).await? {
            return arrived(conn, id, transfer).await;
        }
    }
    let referenced = match transfer.authorization_nonce {
        Some(nonce) if transfer.from != deployment.payment_router => Some(nonce),
        _ => payment_id(conn, custody, deployment, transfer).await?,
    };
    if let Some(reference) = referenced {
        let asked = "SELECT id, agent_id, block_number IS NULL AS is_open FROM deposits WHERE reference = $1";
        if let Some(row) = sqlx::query(asked).bind(reference.as_slice()).fetch_optional(&mut *conn).await? {
            return if row.try_get("is_open")? {
                arrived(conn, row.try_get("id")?, transfer).await
            } else {
                found(conn, row.try_get("agent_id")?, transfer).await
            };
        }
    }
    let owners = "SELECT id FROM agents WHERE wallet = $1 AND active LIMIT 100";
    let owners: Vec<Uuid> = sqlx::query_scalar(owners).bind(transfer.from.as_slice()).fetch_all(&mut *conn).await?;
    let announced = "SELECT id, agent_id FROM deposits WHERE agent_id = ANY($1) AND status = 'pending' AND reference IS NOT NULL AND amount = $2
         ORDER BY created_at, id";
    let announced = sqlx::query(announced).bind(&owners).bind(transfer.amount).fetch_all(&mut *conn).await?;
    let mut who: Vec<Uuid> = announced.iter().map(|row| row.try_get("agent_id")).collect::<sqlx::Result<_>>()?;
    who.dedup();
    match (&owners[..], &announced[..], &who[..]) {
        // The wallet is one agent's, or only one of its agents announced this amount.
        (_, [first, ..], [_]) => arrived(conn, first.try_get("id")?, transfer).await,
        ([owner], ..) => found(conn, *owner, transfer).await,
        _ => unmatched(conn, transfer).await,
    }
}

/// A batch of withdrawals was paid. What else goes out is the operator's, and shows in the books. Where the chain is walked once more, what was written
/// down of a batch stays.
async fn went_out(conn: &mut PgConnection, deployment: &Deployment, transfer: &Transfer) -> sqlx::Result<()> {
    let router = deployment.payment_router;
    let Some(nonce) = transfer.authorization_nonce.filter(|_| transfer.to == router) else { return Ok(()) };
    let tx = transfer.place.transaction_hash;
    let paid = "UPDATE batches SET status = 'paid', transaction_hash = $3
         WHERE payer = $1 AND authorization_nonce = $2 AND status <> 'paid' RETURNING id";
    let paid = sqlx::query_scalar(paid).bind(transfer.from.as_slice()).bind(nonce.as_slice()).bind(tx.as_slice());
    let Some(batch): Option<Uuid> = paid.fetch_optional(&mut *conn).await? else { return Ok(()) };
    let completed = "UPDATE withdrawals SET status = 'completed', ended_at = now() WHERE batch_id = $1";
    sqlx::query(completed).bind(batch).execute(&mut *conn).await?;
    // Whom the token refuses has it at the router. Whoever relays the batch can add payouts of another token to the transaction.
    let filter = EventFilter {
        contract: Some(router),
        name: Some("PayoutCredited".into()),
        reference: Some(B256::left_padding_from(batch.as_bytes())),
        tx: Some(tx),
        limit: PAYEES_MAX,
        ..EventFilter::default()
    };
    for event in read::events(conn, &filter).await? {
        let address = |name| event.args.as_ref()?.get(name)?.as_str()?.parse::<Address>().ok();
        let Some(account) = address("account").filter(|_| address("token") == Some(deployment.usdc)) else { continue };
        let reason = format!("the token refused the recipient: the PaymentRouter {router} keeps it for them (withdraw)");
        let told = "UPDATE withdrawals SET reason = $3 WHERE batch_id = $1 AND recipient = $2";
        sqlx::query(told).bind(batch).bind(account.as_slice()).bind(reason).execute(&mut *conn).await?;
    }
    Ok(())
}

/// The payment id with which the router brought this very transfer. The router says what it pays and then moves it: between the two there is no
/// other transfer to or from the custody account.
async fn payment_id(
    conn: &mut PgConnection,
    custody: Address,
    deployment: &Deployment,
    transfer: &Transfer,
) -> sqlx::Result<Option<B256>> {
    let (tx, block, log) = (Some(transfer.place.transaction_hash), transfer.place.block_number, transfer.place.log_index);
    let (blocks, before) = (Span { from: Some(block), to: Some(block) }, Some(Position { block, log, part: 0 }));
    let filter = PaymentFilter { payee: Some(custody), tx, blocks, after: before, limit: 1, ..PaymentFilter::default() };
    let Some(payment) = read::payments(conn, &filter).await?.pop() else { return Ok(None) };
    let filter = TransferFilter {
        account: Some(custody),
        tx,
        blocks,
        after: Some(payment.place.position()),
        order: Order::Asc,
        limit: 1,
        ..TransferFilter::default()
    };
    let next = read::transfers(conn, &filter).await?;
    let follows = next.iter().any(|next| next.place.log_index == log);
    let same = (payment.kind, payment.token) == (PaymentKind::Router, deployment.usdc)
        && payment.amount == transfer.amount.base_units().to_string()
        && [payment.payer, deployment.payment_router].contains(&transfer.from);
    Ok(payment.reference.filter(|_| follows && same))
}

/// What was announced came, or what was credited before is final.
async fn arrived(conn: &mut PgConnection, deposit: Uuid, transfer: &Transfer) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE deposits SET block_number = $2, log_index = $3, transaction_hash = $4, amount = $5,
             status = CASE WHEN status = 'completed' THEN status ELSE 'arrived' END
         WHERE id = $1",
    )
    .bind(deposit)
    .bind(int(transfer.place.block_number))
    .bind(int32(transfer.place.log_index))
    .bind(transfer.place.transaction_hash.as_slice())
    .bind(transfer.amount)
    .execute(conn)
    .await?;
    Ok(())
}

/// What nobody announced is a deposit all the same.
async fn found(conn: &mut PgConnection, agent: Uuid, transfer: &Transfer) -> sqlx::Result<()> {
    let id = Uuid::now_v7();
    // Named by its authorization, it is not written down once more as a payment that is about to be settled.
    let new = "INSERT INTO deposits (id, agent_id, status, payer, payer_nonce) VALUES ($1, $2, 'pending', $3, $4)";
    let nonce = transfer.authorization_nonce.map(|nonce| nonce.to_vec());
    let payer = nonce.as_ref().map(|_| transfer.from.to_vec());
    sqlx::query(new).bind(id).bind(agent).bind(payer).bind(nonce).execute(&mut *conn).await?;
    arrived(conn, id, transfer).await
}

async fn unmatched(conn: &mut PgConnection, transfer: &Transfer) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO unmatched (block_number, log_index, transaction_hash, sender, amount, authorization_nonce)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(int(transfer.place.block_number))
    .bind(int32(transfer.place.log_index))
    .bind(transfer.place.transaction_hash.as_slice())
    .bind(transfer.from.as_slice())
    .bind(transfer.amount)
    .bind(transfer.authorization_nonce.map(|nonce| nonce.to_vec()))
    .execute(conn)
    .await?;
    Ok(())
}

/// A block number as Postgres counts.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An index within a block as Postgres counts.
pub(super) fn int32(index: u32) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
