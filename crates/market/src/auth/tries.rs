//! Passwords that are tried: who guesses waits longer and longer, over all instances, and locks nobody else out.
//!
//! A wrong password is counted for the account tried from this address, for the address, and for the account. An account that is tried from many
//! addresses waits, too, but not where its owner signed in before, nor for whoever shows a session of it: those are counted by themselves.

use alloy::primitives::B256;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::access::Trail;

/// Wrong passwords that cost no time: of one account from one address, of one address, and of one account from where it is not known.
const OWN_FREE: i32 = 5;
const ADDRESS_FREE: i32 = 50;
const ACCOUNT_FREE: i32 = 100;
/// How long the first beyond them costs; each further one twice as long.
const LOCK_SECONDS: i32 = 30;
const LOCK_MAX_SECONDS: i32 = 900;

/// What a try is counted for, in the order of the keys, so that two at once do not wait for each other.
#[derive(Debug)]
pub(super) struct Places {
    /// Ends when the password was right.
    own: B256,
    counted: Vec<(B256, i32)>,
}

/// What came of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It may be tried; so many were not right in a row, this included.
    Free(i32),
    /// The same, and the next has to wait.
    Last(i32),
    /// It must not be tried for so many seconds.
    Locked(u64),
}

fn key(what: &str, of: &[&str]) -> B256 {
    let mut hash = Sha256::new_with_prefix(what);
    for part in of {
        hash.update([0]);
        hash.update(part);
    }
    B256::from_slice(&hash.finalize())
}

impl Places {
    /// Of somebody who shows a session of the account: nobody else is counted with it.
    pub(super) fn of_session(session: Uuid) -> Self {
        let own = key("session", &[&session.to_string()]);
        Self { own, counted: vec![(own, OWN_FREE)] }
    }

    /// Of anybody. Where the account's owner signed in before, tries from elsewhere cost nothing.
    pub(super) fn of_address(email: &str, trail: &Trail, is_known: bool) -> Self {
        let address = trail.ip.map_or_else(String::new, |ip| ip.to_string());
        let own = key("account and address", &[email, &address]);
        let mut counted = vec![(own, OWN_FREE), (key("address", &[&address]), ADDRESS_FREE)];
        if !is_known {
            counted.push((key("account", &[email]), ACCOUNT_FREE));
        }
        counted.sort_unstable();
        Self { own, counted }
    }

    fn keys(&self) -> Vec<&[u8]> {
        self.counted.iter().map(|(key, _)| key.as_slice()).collect()
    }

    /// Counts a try before it is made: many at once get no more than one after the other.
    pub(super) async fn count(&self, pool: &PgPool) -> sqlx::Result<Counted> {
        let mut tx = pg::begin(pool).await?;
        let count = "INSERT INTO login_tries AS t (key, free, failures, last_at) SELECT key, free, 1, now()
             FROM unnest($1::bytea[], $2::integer[]) AS new (key, free)
             ON CONFLICT (key) DO UPDATE SET last_at = now(), free = excluded.free,
                 failures = CASE WHEN t.last_at < now() - interval '6 hours' THEN 1 ELSE t.failures + 1 END,
                 locked_until = CASE WHEN t.last_at > now() - interval '6 hours' AND t.failures + 1 >= excluded.free
                     THEN now() + make_interval(secs => least($3 * power(2, least(t.failures + 1 - excluded.free, 20)), $4)) END
             WHERE t.locked_until IS NULL OR t.locked_until <= now()
             RETURNING key, failures, locked_until IS NOT NULL AS is_last";
        let free: Vec<i32> = self.counted.iter().map(|(_, free)| *free).collect();
        let count =
            sqlx::query(count).bind(self.keys()).bind(free).bind(f64::from(LOCK_SECONDS)).bind(f64::from(LOCK_MAX_SECONDS));
        let rows = count.fetch_all(&mut *tx).await?;
        if rows.len() < self.counted.len() {
            // Who has to wait is not counted: waiting is no try.
            tx.rollback().await?;
            let wait = "SELECT coalesce(max(ceil(extract(epoch FROM locked_until - now()))), 1)::bigint FROM login_tries WHERE key = ANY($1)";
            let wait: i64 = sqlx::query_scalar(wait).bind(self.keys()).fetch_one(pool).await?;
            return Ok(Counted::Locked(wait.max(1).unsigned_abs()));
        }
        tx.commit().await?;
        let (mut failures, mut is_last) = (0, false);
        for row in &rows {
            is_last |= row.try_get::<bool, _>("is_last")?;
            if row.try_get::<&[u8], _>("key")? == self.own.as_slice() {
                failures = row.try_get("failures")?;
            }
        }
        Ok(if is_last { Counted::Last(failures) } else { Counted::Free(failures) })
    }

    /// Takes back a try that was right.
    pub(super) async fn forgive(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let others = "UPDATE login_tries SET failures = greatest(failures - 1, 0), locked_until = NULL
             WHERE key IN (SELECT key FROM login_tries WHERE key = ANY($1) AND key <> $2 ORDER BY key FOR UPDATE)";
        sqlx::query(others).bind(self.keys()).bind(self.own.as_slice()).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM login_tries WHERE key = $1").bind(self.own.as_slice()).execute(conn).await.map(drop)
    }
}

/// Removes what is forgotten.
pub(super) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM login_tries WHERE last_at < now() - interval '1 day'").execute(pool).await.map(drop)
}
