use api::{
    Page,
    ledger::{Amount, Kind, StatementLine, StatementQuery},
};
use axum::{Json, extract::State};
use sqlx::{Row, postgres::PgRow};

use crate::{
    auth::Caller,
    input::{self, Params},
    ledger,
    problem::Problem,
    service::Market,
};

/// `GET /api/v1/wallet/history`
pub(crate) async fn statement(
    State(market): State<Market>,
    caller: Caller,
    Params(query): Params<StatementQuery>,
) -> Result<Json<Page<StatementLine>>, Problem> {
    let (agent, limit) = (caller.agent()?, input::limit(query.limit)?);
    let before: i64 = match &query.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Problem::invalid("cursor must be the next_cursor of another page"))?,
        None => i64::MAX,
    };
    let rows = sqlx::query(
        "SELECT e.transfer, e.amount, e.balance, t.at, t.kind, t.reference, t.memo
         FROM accounts AS a JOIN entries AS e ON e.account = a.id JOIN transfers AS t ON t.id = e.transfer
         WHERE a.owner = $1 AND a.asset = $2 AND a.purpose = 1 AND e.transfer < $3
             AND ($4::timestamptz IS NULL OR t.at <= $4)
         ORDER BY e.transfer DESC LIMIT $5",
    )
    .bind(agent)
    .bind(query.asset as i16)
    .bind(before)
    .bind(query.until)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let line = |row: &PgRow| {
        let (amount, kind): (i64, i16) = (row.try_get("amount")?, row.try_get("kind")?);
        let kind = u8::try_from(kind).ok().and_then(Kind::from_number);
        Ok(StatementLine {
            transfer_id: row.try_get::<i64, _>("transfer")?.unsigned_abs(),
            at: row.try_get("at")?,
            kind: kind.ok_or_else(|| sqlx::Error::Decode("a transfer of a later version".into()))?,
            reference: row.try_get("reference")?,
            asset: query.asset,
            credit: ledger::amount(amount),
            debit: Amount::from_units(amount.min(0).unsigned_abs()).unwrap_or_default(),
            balance: ledger::amount(row.try_get("balance")?),
            memo: row.try_get("memo")?,
        })
    };
    let lines = rows.iter().map(line).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(lines, limit, |line: &StatementLine| line.transfer_id.to_string())))
}
