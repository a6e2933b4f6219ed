//! How often one principal may ask in a minute, over all instances.
//!
//! An instance takes places of the shared minute some at a time and hands them out itself: all instances together never hand out more than the
//! limit, and a busy principal costs one statement for many requests.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::Address;
use cache::Hot;
use moka::future::Cache;
use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use crate::{auth::Who, problem::Problem};

/// Principals that an instance remembers.
const KNOWN_MAX: u64 = 100_000;
/// Those of them that are known and can be looked up without waiting.
const HERE_MAX: u64 = 20_000;
/// Each statement takes this part of the limit.
const PART: u32 = 16;
const MINUTE_SECONDS: i64 = 60;

/// The limits, and what was handed out.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Requests a minute of who has proven who it is; none for no limit.
    pub(crate) known: Option<u32>,
    /// Of one address without credentials.
    pub(crate) unknown: Option<u32>,
    minutes: Cache<Principal, Arc<Mutex<Minute>>>,
    /// The same of who is known and asks most. One that is here and no more there is as good: what was handed out stands in the database.
    here: Hot<Principal, Arc<Mutex<Minute>>>,
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    Agent {
        id: Uuid,
        /// Who is behind it.
        person: Uuid,
    },
    Wallet(Address),
    Creator(Uuid),
    /// Nobody known, from here.
    Ip(Option<IpAddr>),
}

impl From<Who> for Principal {
    fn from(who: Who) -> Self {
        match who {
            Who::Agent { id, person, .. } => Self::Agent { id, person },
            Who::Wallet(wallet) => Self::Wallet(wallet),
            Who::Creator { id, .. } => Self::Creator(id),
        }
    }
}

impl Principal {
    /// Who is behind it, as `agents.person` has it; nobody for an address.
    pub(crate) fn person(&self) -> Option<Uuid> {
        match self {
            Self::Agent { person: id, .. } | Self::Creator(id) => Some(*id),
            Self::Wallet(wallet) => wallet.0[4..].try_into().ok().map(Uuid::from_bytes),
            Self::Ip(_) => None,
        }
    }
}

/// As all instances write it.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { id, .. } => write!(f, "agent {id}"),
            Self::Wallet(wallet) => write!(f, "wallet {wallet}"),
            Self::Creator(id) => write!(f, "creator {id}"),
            Self::Ip(Some(ip)) => write!(f, "ip {ip}"),
            Self::Ip(None) => f.write_str("ip "),
        }
    }
}

/// What an instance has of one minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: i64,
    /// Places taken from the shared minute and not handed out yet.
    left: u32,
    /// Places that nobody has taken.
    shared: u32,
}

/// Where a principal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u32,
    /// At least: other instances may hold some more.
    pub(crate) remaining: u32,
    /// Until the next minute.
    pub(crate) reset_seconds: u64,
    pub(crate) refused: bool,
}

impl Standing {
    /// What is said to who is refused.
    pub(crate) fn too_often(self) -> Problem {
        let Self { limit, reset_seconds, .. } = self;
        Problem::too_often(format!("At most {limit} requests a minute: wait {reset_seconds} seconds"), reset_seconds)
    }
}

impl Limits {
    pub(crate) fn new(known: u32, unknown: u32) -> Self {
        let minutes = Cache::builder().max_capacity(KNOWN_MAX).time_to_idle(Duration::from_secs(120)).build();
        let some = |limit: u32| Some(limit).filter(|limit| *limit > 0);
        Self { known: some(known), unknown: some(unknown), minutes, here: Hot::of_equals(HERE_MAX) }
    }

    /// Takes one place. `None` when there is no limit, or the database does not answer: then no request gets far anyway.
    pub(crate) async fn take(&self, pool: &PgPool, who: Principal, limit: Option<u32>) -> Option<Standing> {
        let limit = limit?;
        let (number, reset_seconds) = now();
        let minute = self.minute(who).await;
        if let Some(standing) = lock(&minute).take(limit, number, reset_seconds) {
            return Some(standing);
        }
        let part = (limit / PART).max(1);
        let used = used(pool, who, number, part).await.inspect_err(|error| warn!(%error, "requests cannot be counted")).ok()?;
        let before = used.saturating_sub(part);
        let got = part.min(limit.saturating_sub(before));
        let mut minute = lock(&minute);
        if minute.number != number {
            *minute = Minute { number, left: 0, shared: 0 };
        }
        minute.shared = limit.saturating_sub(used);
        minute.left += got;
        minute.take(limit, number, reset_seconds)
    }

    /// Takes one more place for a request of somebody known that does what several do.
    pub(crate) async fn take_known(&self, pool: &PgPool, who: Principal) -> Result<(), Problem> {
        match self.take(pool, who, self.known).await {
            Some(standing) if standing.refused => Err(standing.too_often()),
            _ => Ok(()),
        }
    }

    /// Takes one of the places that this instance has already, if it has any.
    pub(crate) fn take_one_here(&self, who: Principal, limit: u32) -> Option<Standing> {
        let (number, reset_seconds) = now();
        let minute = self.here.get(&who)?;
        lock(&minute).take(limit, number, reset_seconds).filter(|standing| !standing.refused)
    }

    async fn minute(&self, who: Principal) -> Arc<Mutex<Minute>> {
        if matches!(who, Principal::Ip(_)) {
            return self.minutes.get_with(who, async { Arc::default() }).await;
        }
        if let Some(minute) = self.here.get(&who) {
            return minute;
        }
        let minute = self.minutes.get_with(who, async { Arc::default() }).await;
        self.here.offer(who, minute.clone(), 1);
        minute
    }
}

impl Minute {
    /// Takes one of the places that are here, or refuses when there are none anywhere. `None` when some of the shared ones have to be taken first.
    fn take(&mut self, limit: u32, number: i64, reset_seconds: u64) -> Option<Standing> {
        if self.number != number || (self.left == 0 && self.shared > 0) {
            return None;
        }
        let refused = self.left == 0;
        self.left = self.left.saturating_sub(1);
        Some(Standing { limit, remaining: self.left + self.shared, reset_seconds, refused })
    }
}

/// The number of this minute, and the seconds that are left of it.
fn now() -> (i64, u64) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    (now / MINUTE_SECONDS, (MINUTE_SECONDS - now % MINUTE_SECONDS).unsigned_abs())
}

fn lock(minute: &Mutex<Minute>) -> std::sync::MutexGuard<'_, Minute> {
    minute.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes places of a minute that all instances share, and says how many are taken. What a crash of the database forgets of them is forgiven:
/// nobody waits for the disk.
async fn used(pool: &PgPool, who: Principal, minute: i64, part: u32) -> sqlx::Result<u32> {
    let taken = sqlx::query(
        "INSERT INTO request_counts AS c (principal, minute, used)
         SELECT $1, $2, $3 FROM set_config('synchronous_commit', 'off', TRUE)
         ON CONFLICT (principal) DO UPDATE SET minute = excluded.minute,
             used = CASE WHEN c.minute = excluded.minute THEN least(c.used + excluded.used, 2000000000) ELSE excluded.used END
         RETURNING used",
    );
    let row = taken.bind(who.to_string()).bind(minute).bind(part.cast_signed()).fetch_one(pool).await?;
    row.try_get::<i32, _>("used").map(i32::unsigned_abs)
}

/// Removes the counts of minutes that are over.
pub(crate) async fn clean(pool: &PgPool) -> sqlx::Result<()> {
    let minute = OffsetDateTime::now_utc().unix_timestamp() / MINUTE_SECONDS;
    sqlx::query("DELETE FROM request_counts WHERE minute < $1").bind(minute - 2).execute(pool).await.map(drop)
}
