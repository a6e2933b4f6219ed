//! A place in the feed that moves on with what its reader is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use api::{Code, FeedQuery, Topic};
use rand::Rng;
use sqlx::Row;
use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::warn;

use super::{
    Item, RETRY, Wish,
    hub::{self, Step},
    viewer::{Place, Viewer},
};
use crate::{auth, problem::Problem, service::Market};

/// The credentials of a connection are looked at again so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a reader is told no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It takes less than comes.
    Slow,
    /// What it would be told next is gone.
    NotKept,
    /// Its credentials are good no more.
    Refused,
    /// The service ends.
    Stopping,
}

impl End {
    /// As WebSockets are closed.
    pub(super) const fn code(self) -> u16 {
        match self {
            Self::Slow => 4008,
            Self::NotKept => 4010,
            Self::Refused => 4003,
            Self::Stopping => 1001,
        }
    }

    /// As it is said, with the place to go on after. At most 123 bytes.
    pub(super) fn reason(self, after: i64) -> String {
        match self {
            Self::Slow => format!("too slow: come back with after={after}, or what you got last"),
            Self::NotKept => "what comes next is not kept any more: come back without after".into(),
            Self::Refused => format!("the credentials ended: come back with others and after={after}"),
            Self::Stopping => format!("this instance stops: come back with after={after}"),
        }
    }
}

pub(super) struct Reader {
    market: Market,
    viewer: Viewer,
    wish: Wish,
    /// Everything up to here was told, or is for others.
    cursor: i64,
    /// Whether it was told all there was once.
    live: bool,
    newest: watch::Receiver<i64>,
    look_at: Instant,
    _place: Place,
}

impl Reader {
    pub(super) async fn open(
        market: &Market,
        mut viewer: Viewer,
        query: &FeedQuery,
        after: Option<u64>,
    ) -> Result<Self, Problem> {
        let wish = Wish::of(query)?;
        let place = market.feed.places.take(viewer.who)?;
        if !viewer.look(&market.pool, wish.topics.contains(&Topic::Agent)).await? {
            return Err(auth::refused());
        }
        let row = sqlx::query("SELECT last_seq, removed_to FROM feed").fetch_one(&market.pool).await?;
        let (last, removed): (i64, i64) = (row.try_get("last_seq")?, row.try_get("removed_to")?);
        let cursor = after.map_or(last, |after| i64::try_from(after).unwrap_or(i64::MAX));
        if cursor > last {
            return Err(Problem::invalid(format!(
                "The feed has no event {cursor} yet, the last is {last}: begin there or before"
            )));
        }
        if cursor < removed {
            let detail =
                format!("Events are kept for seven days, and those after {removed} are there: begin there, or at the end");
            return Err(Problem::new(Code::NotKept, detail));
        }
        let newest = market.feed.hub.newest();
        let mut reader =
            Self { market: market.clone(), viewer, wish, cursor, live: false, newest, look_at: Instant::now(), _place: place };
        reader.look_later();
        Ok(reader)
    }

    /// The place after which it goes on.
    pub(super) const fn cursor(&self) -> i64 {
        self.cursor
    }

    /// What it is told next, when there is something. Nothing is lost when nobody waits for the answer any more.
    pub(super) async fn next(&mut self) -> Result<Vec<Arc<Item>>, End> {
        let market = self.market.clone();
        let feed = &market.feed;
        loop {
            if feed.closing.is_cancelled() {
                return Err(End::Stopping);
            }
            if self.look_at <= Instant::now() {
                self.look().await?;
            }
            self.newest.mark_unchanged();
            match feed.hub.after(self.cursor, &self.wish, &self.viewer.mine) {
                Step::Items(items, upto) => {
                    self.cursor = upto;
                    if !items.is_empty() {
                        return Ok(items);
                    }
                }
                Step::Nothing => {
                    self.live = true;
                    tokio::select! {
                        _ = self.newest.changed() => {}
                        () = feed.closing.cancelled() => {}
                        () = tokio::time::sleep_until(self.look_at.into()) => {}
                    }
                }
                Step::Behind if self.live => return Err(End::Slow),
                Step::Behind => {
                    let items = self.read_table().await?;
                    if !items.is_empty() {
                        return Ok(items);
                    }
                }
            }
        }
    }

    /// The next page of what is not in memory, as far as it is for this reader.
    async fn read_table(&mut self) -> Result<Vec<Arc<Item>>, End> {
        let page = {
            let _turn = self.market.feed.history.acquire().await;
            hub::page(&self.market.pool, self.cursor).await
        };
        let items = match page {
            Ok(items) => items,
            Err(error) => {
                warn!(%error, "the feed cannot be read, trying again");
                tokio::time::sleep(RETRY).await;
                return Ok(Vec::new());
            }
        };
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return Err(End::NotKept) };
        if first.seq != self.cursor + 1 {
            return Err(End::NotKept);
        }
        self.cursor = last.seq;
        let wanted = items.into_iter().filter(|item| self.wish.wants(&item.meta, &self.viewer.mine));
        Ok(wanted.map(Arc::new).collect())
    }

    async fn look(&mut self) -> Result<(), End> {
        match self.viewer.look(&self.market.pool, self.wish.topics.contains(&Topic::Agent)).await {
            Ok(true) => self.look_later(),
            Ok(false) => return Err(End::Refused),
            Err(error) => {
                warn!(%error, "the credentials of a reader cannot be looked at");
                self.look_at = Instant::now() + RETRY;
            }
        }
        Ok(())
    }

    /// Not all at one time; and at once when the credentials end by themselves.
    fn look_later(&mut self) {
        let wait = rand::rng().random_range(LOOK_EVERY / 2..=LOOK_EVERY);
        let left = self.viewer.until.map(|until| Duration::try_from(until - OffsetDateTime::now_utc()).unwrap_or_default());
        self.look_at = Instant::now() + left.map_or(wait, |left| wait.min(left));
    }
}
