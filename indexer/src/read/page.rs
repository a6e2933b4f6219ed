//! Pages of what happened, in the order of the chain.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{Order, Position, Span, index};
use crate::store::int;

/// Rows that a page looks at, at most, when some of what is asked for is no part of the index that it follows. What a request costs depends on
/// this and not on how many rows there are.
pub const LOOKED_AT_MAX: u32 = 5_000;

/// What a row's place is made of.
pub(super) const LOG: &[&str] = &["block_number", "log_index"];
pub(super) const PART: &[&str] = &["block_number", "log_index", "part"];

/// A column and what it must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    Bytes(&'static str, &'a [u8]),
    Text(&'static str, &'a str),
}

impl Condition<'_> {
    pub(super) fn push(self, query: &mut QueryBuilder<Postgres>, table: &str) {
        match self {
            Self::Bytes(column, value) => query.push(format!(" AND {table}.{column} = ")).push_bind(value),
            Self::Text(column, value) => query.push(format!(" AND {table}.{column} = ")).push_bind(value),
        };
    }
}

/// Part of a list in the order of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) blocks: Span,
    pub(super) after: Option<Position>,
    pub(super) until: Option<Position>,
    pub(super) order: Order,
}

impl Range {
    pub(super) fn conditions(self, query: &mut QueryBuilder<Postgres>, table: &str, place: &[&str]) {
        let (beyond, before) = match self.order {
            Order::Desc => ("<", ">="),
            Order::Asc => (">", "<="),
        };
        self.blocks.conditions(query, table);
        for (position, compared) in [(self.after, beyond), (self.until, before)] {
            let Some(position) = position else { continue };
            let columns: Vec<String> = place.iter().map(|column| format!("{table}.{column}")).collect();
            query.push(format!(" AND ({}) {compared} (", columns.join(", "))).push_bind(int(position.block));
            for number in [position.log, position.part].into_iter().take(place.len() - 1) {
                query.push(", ").push_bind(index(number));
            }
            // Says nothing new, but it is what leaves partitions out.
            let compared = if compared.starts_with('<') { "<=" } else { ">=" };
            query.push(format!(") AND {table}.block_number {compared} ")).push_bind(int(position.block));
        }
    }

    /// `found`: rows are found by an index that begins with what is asked for and goes on with the place. Such indexes have their nulls at the
    /// other end (there are none), so that no other index gives this order. Otherwise Postgres would follow the primary key instead whenever it
    /// believes that every tenth row or so is wanted, and walk through the whole table when those are all at its other end.
    pub(super) fn order(self, query: &mut QueryBuilder<Postgres>, table: &str, place: &[&str], found: bool) {
        let direction = match (self.order, found) {
            (Order::Desc, false) => "DESC",
            (Order::Desc, true) => "DESC NULLS LAST",
            (Order::Asc, false) => "ASC",
            (Order::Asc, true) => "ASC NULLS FIRST",
        };
        let columns: Vec<String> = place.iter().map(|column| format!("{table}.{column} {direction}")).collect();
        query.push(format!(" ORDER BY {}", columns.join(", ")));
    }

    /// The nearer of two places.
    pub(super) fn nearer(self, one: Option<Position>, other: Option<Position>) -> Option<Position> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if self.order == Order::Desc { one.max(other) } else { one.min(other) }),
            (one, other) => one.or(other),
        }
    }

    /// The place of the last of [`LOOKED_AT_MAX`] rows that an index gives; none if it does not give as many.
    pub(super) async fn horizon(
        self,
        conn: &mut PgConnection,
        table: &str,
        along: Option<Condition<'_>>,
        place: &[&str],
    ) -> Result<Option<Position>, sqlx::Error> {
        let part = if place.len() == PART.len() { "part" } else { "0" };
        let mut query = QueryBuilder::new(format!("SELECT block_number, log_index, {part} FROM chain.{table} AS s WHERE TRUE"));
        if let Some(condition) = along {
            condition.push(&mut query, "s");
        }
        self.conditions(&mut query, "s", place);
        self.order(&mut query, "s", place, along.is_some());
        query.push(" LIMIT 1 OFFSET ").push_bind(i64::from(LOOKED_AT_MAX) - 1);
        let found: Option<(i64, i32, i32)> = query.build_query_as().fetch_optional(conn).await?;
        Ok(found.map(|(block, log, part)| Position {
            block: block.unsigned_abs(),
            log: log.unsigned_abs(),
            part: part.unsigned_abs(),
        }))
    }
}
