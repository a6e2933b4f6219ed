//! Payments as the events and transfers tell them that are mirrored.

use std::ops::RangeInclusive;

use sqlx::PgConnection;

use super::{Error, Found, Head};
use crate::derive;

/// Blocks whose payments are compared with one query.
const BLOCKS_AT_ONCE: u64 = 10_000;

/// Finds the payments of blocks again and compares them and their sums.
pub(super) async fn reconcile(conn: &mut PgConnection, head: &Head, blocks: RangeInclusive<u64>) -> Result<Found, Error> {
    let mut found = Found::default();
    let (first, last) = blocks.into_inner();
    let mut from = first;
    while from <= last {
        let to = last.min(from + BLOCKS_AT_ONCE - 1);
        for block in derive::wrong_payments(conn, from, to).await? {
            found.add(head, || format!("block {block}: its payments are not what its events and transfers say"));
        }
        from = to + 1;
    }
    // Of all blocks at once: an hour that only some of them are of is not compared.
    for hour in derive::wrong_sums(conn, first, last).await? {
        found.add(head, || format!("the hour of {hour}: the sums of its payments are not what its payments say"));
    }
    Ok(found)
}
