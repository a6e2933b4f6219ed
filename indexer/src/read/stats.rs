use alloy::primitives::Address;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use time::{Date, OffsetDateTime};

use super::{PaymentKind, address};
use crate::schema;

/// Of a day.
const HOURS: i64 = 24;

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
    // A day has 24 hours of each kind and token, so the newest hours that this counts off are of enough days.
    let mut query = QueryBuilder::<Postgres>::new("SELECT date_trunc('day', hour, 'UTC') FROM chain.payment_hours WHERE TRUE");
    conditions(&mut query, filter);
    // As in `page`: no index but that of what is asked for gives this order.
    let found = filter.kind.is_some() || filter.token.is_some();
    query.push(if found { " ORDER BY hour DESC NULLS LAST" } else { " ORDER BY hour DESC" });
    query.push(" LIMIT 1 OFFSET ").push_bind(i64::from(filter.limit) * HOURS);
    let since: Option<OffsetDateTime> = query.build_query_scalar().fetch_optional(&mut *conn).await?;

    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT (hour AT TIME ZONE 'UTC')::date AS day, kind, token, sum(payments)::bigint AS payments, sum(amount)::text AS amount
         FROM (SELECT * FROM chain.payment_hours WHERE TRUE",
    );
    conditions(&mut query, filter);
    if let Some(since) = since {
        query.push(" AND hour >= ").push_bind(since);
    }
    // In order, so that they come from an index and not from all of the table.
    query.push(" ORDER BY hour DESC) AS hours GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3 LIMIT ").push_bind(i64::from(filter.limit));
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

fn conditions(query: &mut QueryBuilder<Postgres>, filter: &StatFilter) {
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
}
