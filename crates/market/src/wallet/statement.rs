use api::{
    Page,
    ledger::{Amount, Asset, CsvQuery, Kind, StatementLine, StatementQuery},
};
use axum::{Json, body::Body, extract::State, http::header, response::IntoResponse};
use sqlx::{Row, postgres::PgRow};
use time::format_description::well_known::Rfc3339;

use crate::{
    auth::Caller,
    db,
    input::{self, Params},
    ledger,
    operation::Csv,
    problem::Problem,
    service::Market,
};

/// Lines read at a time.
const CSV_ROWS: i64 = 1_000;
const CSV_HEAD: &str = "transfer_id,at,kind,reference,asset,credit,debit,balance,memo\r\n";

/// `GET /api/v1/wallet/history`
pub(crate) async fn statement(
    State(market): State<Market>,
    caller: Caller,
    Params(query): Params<StatementQuery>,
) -> Result<Json<Page<StatementLine>>, Problem> {
    let (holder, limit) = (caller.holder()?, input::limit(query.limit)?);
    let before: i64 = match (&query.cursor, query.until) {
        (Some(cursor), _) => cursor.parse().map_err(|_| Problem::invalid("cursor must be the next_cursor of another page"))?,
        (None, Some(until)) => ledger::last_at(&market.pool, until).await? + 1,
        (None, None) => i64::MAX,
    };
    let rows = sqlx::query(
        "SELECT e.transfer, e.amount, e.balance, t.at, t.kind, t.reference, t.memo
         FROM accounts AS a JOIN entries AS e ON e.account = a.id JOIN transfers AS t ON t.id = e.transfer
         WHERE a.owner = $1 AND a.asset = $2 AND a.purpose = 1 AND e.transfer < $3
         ORDER BY e.transfer DESC LIMIT $4",
    )
    .bind(holder)
    .bind(query.asset as i16)
    .bind(before)
    .bind(limit as i64 + 1)
    .fetch_all(&market.pool)
    .await?;
    let lines = rows.iter().map(|row| line(row, query.asset)).collect::<sqlx::Result<_>>()?;
    Ok(Json(input::page(lines, limit, |line: &StatementLine| line.transfer_id.to_string())))
}

fn line(row: &PgRow, asset: Asset) -> sqlx::Result<StatementLine> {
    let (amount, kind): (i64, i16) = (row.try_get("amount")?, row.try_get("kind")?);
    let kind = u8::try_from(kind).ok().and_then(Kind::from_number);
    Ok(StatementLine {
        transfer_id: row.try_get::<i64, _>("transfer")?.unsigned_abs(),
        at: row.try_get("at")?,
        kind: kind.ok_or_else(|| sqlx::Error::Decode("a transfer of a later version".into()))?,
        reference: row.try_get("reference")?,
        asset,
        credit: ledger::amount(amount),
        debit: Amount::from_units(amount.min(0).unsigned_abs()).unwrap_or_default(),
        balance: ledger::amount(row.try_get("balance")?),
        memo: row.try_get("memo")?,
    })
}

/// `GET /api/v1/wallet/statement.csv`: all of it, oldest first, read as it is sent.
pub(crate) async fn csv(
    State(market): State<Market>,
    caller: Caller,
    Params(CsvQuery { asset, until }): Params<CsvQuery>,
) -> Result<Csv, Problem> {
    let holder = caller.holder()?;
    let last = match until {
        Some(until) => ledger::last_at(&market.pool, until).await?,
        None => i64::MAX,
    };
    let parts = futures::stream::try_unfold(Some(0_i64), move |after| {
        let market = market.clone();
        async move {
            let Some(after) = after else { return Ok::<_, sqlx::Error>(None) };
            let rows = sqlx::query(
                "SELECT e.transfer, e.amount, e.balance, t.at, t.kind, t.reference, t.memo
                 FROM accounts AS a JOIN entries AS e ON e.account = a.id JOIN transfers AS t ON t.id = e.transfer
                 WHERE a.owner = $1 AND a.asset = $2 AND a.purpose = 1 AND e.transfer > $3 AND e.transfer <= $4
                 ORDER BY e.transfer LIMIT $5",
            );
            let rows = rows.bind(holder).bind(asset as i16).bind(after).bind(last).bind(CSV_ROWS).fetch_all(&market.pool).await?;
            let mut text = if after == 0 { CSV_HEAD.to_owned() } else { String::new() };
            for row in &rows {
                text += &in_csv(&line(row, asset)?);
            }
            let next =
                if (rows.len() as i64) < CSV_ROWS { None } else { rows.last().map(|row| row.try_get("transfer")).transpose()? };
            Ok(Some((text, next)))
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"), (header::CACHE_CONTROL, "no-store")];
    Ok(Csv((headers, Body::from_stream(parts)).into_response()))
}

fn in_csv(line: &StatementLine) -> String {
    let StatementLine { transfer_id, at, kind, reference, asset, credit, debit, balance, memo } = line;
    let at = at.format(&Rfc3339).unwrap_or_default();
    let memo = quoted(memo.as_deref().unwrap_or_default());
    format!("{transfer_id},{at},{},{reference},{asset},{credit},{debit},{balance},{memo}\r\n", db::name_of(kind))
}

/// A field as RFC 4180 has it. A spreadsheet takes what begins like a formula for one, so such a text begins with an apostrophe.
fn quoted(text: &str) -> String {
    let shield = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{shield}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_memo_neither_breaks_a_line_nor_becomes_a_formula() {
        assert_eq!(quoted("for \"tea\", \r\nand cake"), "\"for \"\"tea\"\", \r\nand cake\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        assert_eq!(quoted(""), "\"\"");
    }
}
