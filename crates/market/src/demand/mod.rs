//! What is looked for: logged off the request's path, and folded into figures.
//!
//! A search or purchase puts a row into a queue of this instance, which never waits: when the queue is full, the row is dropped and counted. A
//! writer empties it every tenth of a second, and writes of purchases only what a search may have led to, a tenth later: a crash loses little more.

/// The searches of who bought `b`, in the half hour before: of each five minutes an index scan.
macro_rules! trail {
    ($columns:literal, $more:literal) => {
        concat!(
            "generate_series(0, 6) AS back CROSS JOIN LATERAL (SELECT ",
            $columns,
            " FROM searches AS s WHERE trail = b.trail - (back::bigint << 32) AND asker = b.asker AND pattern <> ''
                AND at > b.at - interval '30 minutes' AND at <= b.at ",
            $more,
            ") AS s"
        )
    };
}

mod fold;
mod opportunities;
mod spikes;
mod views;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use api::Category;
use money::Usdc;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use time::{OffsetDateTime, macros::datetime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub use fold::{clean, fold};
pub(crate) use views::{Figures, demand_for_me, first, gaps, opportunities, price_suggest, told, trending};

use crate::{db, discover::typos, limits::Principal};

/// Rows that wait to be written.
const QUEUE_MAX: usize = 50_000;
/// Rows written by one statement.
pub const WRITE_MAX: usize = 5_000;
/// How often the log is written.
pub const WRITE_EVERY: Duration = Duration::from_millis(100);
/// How long the figures rest: as many times as long as counting took, and as looking at them took. The more is counted at once, the fewer times a
/// pattern is written for all its searches.
const REST_MIN: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(30);
const COUNTED_REST_TIMES: u32 = 5;
const LOOKED_REST_TIMES: u32 = 50;
/// Words of a pattern, and letters of a word: what is beyond them is not looked at.
const WORDS_MAX: usize = 12;
const WORD_LEN_MAX_CHARS: usize = 32;
/// A search that would pay more says nothing.
const CEILING_MAX: u64 = 1_000_000_000_000;
/// Patterns of one class, of those that are read for an answer, that are put into the order of searches.
const TIED_MAX: i64 = 10_000;
/// Advisory lock of the log: "florin" and what it is for.
const LOG_LOCK: i64 = 0x666c_6f72_696e_0041;

/// How a search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By discovery.
    Discover,
    /// By auto-match.
    AutoMatch,
    /// It is no search but a purchase.
    Purchase,
}

/// A search, or a purchase.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How it came.
    pub source: Source,
    /// When.
    pub at: OffsetDateTime,
    /// Its words, as [`pattern`] makes them; empty for a purchase.
    pub pattern: String,
    /// Its category.
    pub category: Option<Category>,
    /// Who asked, whoever that is.
    pub asker: i64,
    /// Whether it had proven who it is.
    pub known: bool,
    /// Listings found.
    pub matches: u32,
    /// The most it would pay.
    pub price_max: Option<Usdc>,
    /// What was bought.
    pub listing_id: Option<Uuid>,
}

/// The log, as requests see it.
#[derive(Debug)]
pub(crate) struct Log {
    queue: mpsc::Sender<Seen>,
    salt: Vec<u8>,
    dropped: AtomicU64,
}

impl Log {
    /// A log, and what is to be written of it.
    pub(crate) async fn open(pool: &PgPool) -> sqlx::Result<(Self, mpsc::Receiver<Seen>)> {
        let salt = sqlx::query_scalar("SELECT salt FROM demand").fetch_one(pool).await?;
        let (queue, rows) = mpsc::channel(QUEUE_MAX);
        Ok((Self { queue, salt, dropped: AtomicU64::new(0) }, rows))
    }

    /// Notes a search. One without words is no demand for anything.
    pub(crate) fn search(
        &self,
        source: Source,
        principal: Principal,
        (words, category): (Option<&str>, Option<Category>),
        matches: usize,
        price_max: Option<Usdc>,
    ) {
        let pattern = pattern(words.unwrap_or_default());
        if !pattern.is_empty() {
            let matches = u32::try_from(matches).unwrap_or(u32::MAX);
            self.note(source, principal, |row| Seen { pattern, category, matches, price_max, ..row });
        }
    }

    /// Notes a purchase.
    pub(crate) fn purchase(&self, principal: Principal, listing: Uuid) {
        self.note(Source::Purchase, principal, |row| Seen { listing_id: Some(listing), matches: 1, ..row });
    }

    /// Rows that found no place in the queue.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn note(&self, source: Source, principal: Principal, with: impl FnOnce(Seen) -> Seen) {
        // Agents cost nothing to make: those of one person are one asker.
        let person = principal.person();
        let name = person.map_or_else(|| principal.to_string(), |person| format!("person {person}"));
        let digest = Sha256::new_with_prefix(&self.salt).chain_update(name).finalize();
        let asker = i64::from_be_bytes(digest[..8].try_into().expect("a digest has more than eight bytes"));
        let (at, known) = (OffsetDateTime::now_utc(), person.is_some());
        let row = Seen {
            source,
            at,
            pattern: String::new(),
            category: None,
            asker,
            known,
            matches: 0,
            price_max: None,
            listing_id: None,
        };
        if self.queue.try_send(with(row)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The words of a search: in small letters, each once, in order, without those that must not be there.
pub fn pattern(text: &str) -> String {
    let wanted = text.split_whitespace().filter(|part| !part.starts_with('-')).collect::<Vec<_>>().join(" ").to_lowercase();
    let words = wanted.split(|c: char| !c.is_alphanumeric());
    let mut words: Vec<_> = words.filter(|word| !word.is_empty() && word.chars().count() <= WORD_LEN_MAX_CHARS).collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(WORDS_MAX);
    words.join(" ")
}

/// Writes what is seen, until `stop` and then what is left.
pub(crate) async fn write(pool: PgPool, mut rows: mpsc::Receiver<Seen>, stop: CancellationToken) {
    let (mut batch, mut bought) = (Vec::with_capacity(WRITE_MAX), Vec::new());
    let mut stopping = false;
    while !stopping {
        stopping = stop.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_none();
        // A purchase waits once more: then the searches before it are written, whichever instance had them.
        batch.append(&mut bought);
        // What comes while a statement runs waits for the next time, unless there is a whole statement of it.
        loop {
            while batch.len() + bought.len() < WRITE_MAX
                && let Ok(row) = rows.try_recv()
            {
                let waits = row.source == Source::Purchase && !stopping;
                if waits { &mut bought } else { &mut batch }.push(row);
            }
            let full = batch.len() + bought.len() >= WRITE_MAX;
            if batch.is_empty() || !append(&pool, &mut batch).await || !full {
                break;
            }
        }
    }
}

/// Empties the batch. What cannot be written stays in it.
async fn append(pool: &PgPool, batch: &mut Vec<Seen>) -> bool {
    match log(pool, batch).await {
        Ok(()) => batch.clear(),
        Err(error) => warn!(%error, rows = batch.len(), "searches are not logged yet"),
    }
    batch.is_empty()
}

/// Appends to the log: searches, and then the purchases of who looked for something lately.
///
/// # Errors
/// When the database fails; then nothing is appended.
pub async fn log(pool: &PgPool, rows: &[Seen]) -> sqlx::Result<()> {
    let (bought, searched): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.source == Source::Purchase);
    let mut tx = pg::begin(pool).await?;
    // Numbers are given in the order of commits, so that whoever reads on from a number misses none.
    // What a crash of the database would lose of them is no more than what one of the market would: nobody waits for the disk.
    let alone = "SELECT pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)";
    sqlx::query(alone).bind(LOG_LOCK).execute(&mut *tx).await?;
    searches(&mut tx, &searched).await?;
    purchases(&mut tx, &bought).await?;
    tx.commit().await
}

async fn searches(conn: &mut PgConnection, rows: &[&Seen]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = "COPY searches (at, source, pattern, category, asker, known, matches, price_max) FROM STDIN (FORMAT binary)";
    let mut copy = conn.copy_in_raw(columns).await?;
    copy.send(binary(rows)).await?;
    copy.finish().await?;
    Ok(())
}

/// Rows as Postgres copies them: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4
fn binary(rows: &[&Seen]) -> Vec<u8> {
    const COLUMNS: i16 = 8;
    let mut to = Vec::with_capacity(rows.len() * 128);
    to.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    let field = |to: &mut Vec<u8>, value: Option<&[u8]>| {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(value.unwrap_or_default());
    };
    for row in rows {
        let micros = (row.at - datetime!(2000-01-01 0:00 UTC)).whole_microseconds();
        let ceiling = row.price_max.map(|price| price.base_units()).filter(|units| *units <= CEILING_MAX);
        to.extend_from_slice(&COLUMNS.to_be_bytes());
        field(&mut to, Some(&i64::try_from(micros).unwrap_or(i64::MAX).to_be_bytes()));
        field(&mut to, Some(&(row.source as i16 + 1).to_be_bytes()));
        field(&mut to, Some(row.pattern.as_bytes()));
        field(&mut to, row.category.map(db::name_of).as_deref().map(str::as_bytes));
        field(&mut to, Some(&row.asker.to_be_bytes()));
        field(&mut to, Some(&[row.known.into()]));
        field(&mut to, Some(&i32::try_from(row.matches).unwrap_or(i32::MAX).to_be_bytes()));
        field(&mut to, ceiling.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }
    to.extend_from_slice(&(-1_i16).to_be_bytes());
    to
}

/// Most who buy have looked for nothing, and then the purchase says nothing about searches.
async fn purchases(conn: &mut PgConnection, rows: &[&Seen]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let append = concat!(
        "INSERT INTO searches (at, source, pattern, asker, known, matches, listing_id)
         SELECT b.at, 3, '', b.asker, known, 1, listing_id
         FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::boolean[], $5::uuid[]) AS b (at, trail, asker, known, listing_id)
         CROSS JOIN LATERAL (SELECT FROM ",
        trail!("", "LIMIT 1"),
        " LIMIT 1) AS led"
    );
    // As the column is generated.
    let trail = |row: &&Seen| row.at.unix_timestamp().div_euclid(300) << 32 | (row.asker & 0xffff_ffff);
    sqlx::query(append)
        .bind(rows.iter().map(|row| row.at).collect::<Vec<_>>())
        .bind(rows.iter().map(trail).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.asker).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.known).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.listing_id).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Keeps the figures until `stop`. Any number of instances may: one at a time does it.
pub(crate) async fn follow(pool: PgPool, stop: CancellationToken) {
    let (mut rows_max, mut rest) = (fold::BATCH_MAX, Duration::ZERO);
    while stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
        let begun = Instant::now();
        let counted = fold_all(&pool, &mut rows_max, &stop).await;
        let (took, begun) = (begun.elapsed(), Instant::now());
        for done in std::iter::once(counted).chain(look(&pool, &stop).await) {
            if let Err(error) = done {
                warn!(%error, "demand cannot be counted");
            }
        }
        rest = (took * COUNTED_REST_TIMES).max(begun.elapsed() * LOOKED_REST_TIMES).clamp(REST_MIN, REST_MAX);
    }
}

/// Folds what is new, at most so many rows at once, looks at opportunities, and removes what is old. What fails does not keep the rest from being done.
///
/// # Errors
/// The first, when the database fails.
pub async fn cycle(pool: &PgPool, rows_max: &mut i64, stop: &CancellationToken) -> sqlx::Result<()> {
    let counted = fold_all(pool, rows_max, stop).await;
    look(pool, stop).await.into_iter().fold(counted, sqlx::Result::and)
}

/// What is done with the figures.
async fn look(pool: &PgPool, stop: &CancellationToken) -> [sqlx::Result<()>; 4] {
    let now = OffsetDateTime::now_utc();
    [opportunities::look(pool, now).await, spikes::look(pool, now).await, clean_all(pool, stop).await, typos::clean(pool).await]
}

/// Folds what is new; what comes meanwhile waits for the next time. After a failure fewer rows at once, in case they were too many.
async fn fold_all(pool: &PgPool, rows_max: &mut i64, stop: &CancellationToken) -> sqlx::Result<()> {
    while !stop.is_cancelled() {
        match fold(pool, OffsetDateTime::now_utc(), *rows_max, stop).await {
            Ok(Some(true)) => *rows_max = (*rows_max * 2).min(fold::BATCH_MAX),
            Ok(_) => break,
            Err(error) => {
                *rows_max = (*rows_max / 2).max(fold::BATCH_MIN);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Removes all that is old: however long the figures rest, as much goes as comes.
async fn clean_all(pool: &PgPool, stop: &CancellationToken) -> sqlx::Result<()> {
    while !stop.is_cancelled() && clean(pool, OffsetDateTime::now_utc()).await? {}
    Ok(())
}

/// As many patterns as a parameter says with most searches of those that `column`, `top` or `gap`, has in its classes and that fit.
fn most_searched(column: &str, fit: &str, limit: &str) -> String {
    format!(
        "(SELECT * FROM (SELECT * FROM patterns WHERE {column} IS NOT NULL AND {fit} ORDER BY {column} DESC, id LIMIT {TIED_MAX}) AS p
          ORDER BY {column} DESC, searches DESC, id LIMIT {limit})"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn searches_for_the_same_have_the_same_pattern() {
        assert_eq!(pattern("  Weather, forecast! weather -rain"), "forecast weather");
        assert_eq!(pattern("FORECAST weather"), pattern("\"weather forecast\""));
        assert_eq!((pattern(""), pattern("-- & |")), (String::new(), String::new()));
        assert_eq!(pattern(&"x".repeat(33)), "");
    }

    #[test]
    fn one_person_is_one_asker_and_an_address_is_nobody() {
        let wallet: alloy::primitives::Address = "0x0011223344556677889900112233445566778899".parse().unwrap();
        let person = "44556677-8899-0011-2233-445566778899".parse().unwrap();
        let agents = [Principal::Agent { id: Uuid::max(), person }, Principal::Agent { id: Uuid::nil(), person }];
        assert_eq!(agents.map(|agent| agent.person()), [Some(person); 2]);
        assert_eq!(Principal::Wallet(wallet).person(), Some(person), "as the database makes it of an agent's wallet");
        assert_eq!((Principal::Creator(person).person(), Principal::Ip(None).person()), (Some(person), None));
    }
}
