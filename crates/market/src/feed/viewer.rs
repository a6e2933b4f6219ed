//! Who reads the feed, for as long as the credentials are good, and over how many connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use api::{Code, Scope};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    auth::{self, Caller},
    problem::Problem,
};

/// Connections of one reader, and of all, to one instance.
const OF_ONE_MAX: usize = 10;
const OF_ALL_MAX: usize = 20_000;
/// Agents of a creator that are told of.
const AGENTS_MAX: i64 = 1_000;

/// Who somebody is to the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Agent(Uuid),
    Creator(Uuid),
}

/// A reader.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    pub(super) who: Who,
    /// The key or session that it goes back to.
    pub(super) credential: Option<Uuid>,
    /// When the credentials end by themselves.
    pub(super) until: Option<OffsetDateTime>,
    /// The agents that it sees the private events of.
    pub(super) mine: Vec<Uuid>,
}

impl Viewer {
    pub(super) fn new(who: Who, credential: Option<Uuid>, until: Option<OffsetDateTime>) -> Self {
        Self { who, credential, until, mine: Vec::new() }
    }

    pub(super) fn of(caller: &Caller) -> Result<Self, Problem> {
        let who = match caller.creator() {
            Ok(creator) => Who::Creator(creator),
            Err(_) => {
                caller.must_have(Scope::Read)?;
                Who::Agent(caller.agent()?)
            }
        };
        Ok(Self::new(who, caller.credential, caller.until))
    }

    /// Whether the credentials are still good. Finds out whose private events it sees, and notes that somebody reads them, if so.
    pub(super) async fn look(&mut self, pool: &PgPool, privately: bool) -> sqlx::Result<bool> {
        let over = self.until.is_some_and(|until| until <= OffsetDateTime::now_utc());
        let good = match self.who {
            Who::Agent(id) => auth::agent_may(pool, id, self.credential).await?,
            Who::Creator(id) => auth::creator_may(pool, id, self.credential).await?,
        };
        if over || !good {
            return Ok(false);
        }
        if !privately {
            return Ok(true);
        }
        self.mine = match self.who {
            Who::Agent(id) => vec![id],
            Who::Creator(id) => {
                let mine = sqlx::query_scalar("SELECT id FROM agents WHERE creator_id = $1 ORDER BY id LIMIT $2");
                mine.bind(id).bind(AGENTS_MAX).fetch_all(pool).await?
            }
        };
        let seen = "INSERT INTO feed_subscribers AS s (agent_id) SELECT unnest($1::uuid[])
             ON CONFLICT (agent_id) DO UPDATE SET seen_at = now() WHERE s.seen_at < now() - interval '1 hour'";
        sqlx::query(seen).bind(&self.mine).execute(pool).await?;
        Ok(true)
    }
}

/// Connections that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<(usize, HashMap<Who, usize>)>>);

/// One of them. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Places, Who);

impl Places {
    pub(super) fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn take(&self, who: Who) -> Result<Place, Problem> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *taken;
        let of_one = each.entry(who).or_default();
        if *of_one >= OF_ONE_MAX {
            return Err(Problem::new(
                Code::OverLimit,
                format!("The feed is read over at most {OF_ONE_MAX} connections: close one"),
            ));
        }
        if *all >= OF_ALL_MAX {
            if *of_one == 0 {
                each.remove(&who);
            }
            return Err(Problem::new(Code::Unavailable, "Too many read the feed here: try again, perhaps at another instance"));
        }
        *of_one += 1;
        *all += 1;
        Ok(Place(self.clone(), who))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *taken;
        *all = all.saturating_sub(1);
        if let Some(count) = each.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                each.remove(&self.1);
            }
        }
    }
}
