use alloy::primitives::Address;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use time::Date;

use super::{PaymentKind, address};
use crate::schema;

/// What was paid on one day, one way, in one token.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Stat {
    /// The day, in UTC.
    #[serde(serialize_with = "date")]
    #[schemars(with = "schema::Date")]
    pub day: Date,
    /// Which way it was paid.
    pub kind: PaymentKind,
    /// What was paid with.
    #[schemars(with = "schema::Address")]
    pub token: Address,
    /// How many payments.
    pub payments: u64,
    /// Their sum, in base units of the token.
    #[schemars(with = "schema::Units")]
    pub amount: String,
}

fn date<S: serde::Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

/// Which payments to sum up.
#[derive(Clone, Debug, Default)]
pub struct StatFilter {
    /// From this day on.
    pub from: Option<Date>,
    /// Until this day, itself included.
    pub to: Option<Date>,
    /// That went this way.
    pub kind: Option<PaymentKind>,
    /// In this token.
    pub token: Option<Address>,
    /// Most rows.
    pub limit: u32,
}

/// Sums payments up by day, kind and token; the newest days first.
///
/// # Errors
/// When the database fails.
pub async fn stats(conn: &mut PgConnection, filter: &StatFilter) -> Result<Vec<Stat>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT (hour AT TIME ZONE 'UTC')::date AS day, kind, token, sum(payments)::bigint AS payments, sum(amount)::text AS amount
         FROM chain.payment_hours WHERE TRUE",
    );
    if let Some(from) = filter.from {
        query.push(" AND hour >= ").push_bind(from.midnight().assume_utc());
    }
    if let Some(to) = filter.to {
        query.push(" AND hour < ").push_bind(to.next_day().unwrap_or(to).midnight().assume_utc());
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(token) = &filter.token {
        query.push(" AND token = ").push_bind(token.as_slice());
    }
    query.push(" GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3 LIMIT ").push_bind(i64::from(filter.limit));
    let rows = query.build().fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            Ok(Stat {
                day: row.try_get("day")?,
                kind: PaymentKind::read(row)?,
                token: address(row, "token")?,
                payments: row.try_get::<i64, _>("payments")?.unsigned_abs(),
                amount: row.try_get("amount")?,
            })
        })
        .collect()
}
