//! The one thread of an instance that appends: while one batch commits, the next collects.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection, PgPool};
use tokio::{
    runtime,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};

use super::{LedgerError, Order, Posted, Rates, Refused, batch::Batch};
use crate::db::TRUSTED;

/// Orders in one database transaction, at most.
const BATCH_MAX_ORDERS: usize = 256;
/// Orders that wait, at most: the next are refused.
const WAITING_MAX_ORDERS: usize = 4_096;
/// Begins a batch: whoever appends locks the end of the ledger first, and reads only then.
const LOCK: &str = "BEGIN; SELECT FROM ledger FOR UPDATE";
/// Until there is a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failure of the database.
const PAUSE: Duration = Duration::from_millis(50);

/// Appends orders to the ledger. Clones share one writer, which ends with the last of them, after everything asked of it.
#[derive(Clone, Debug)]
pub struct Ledger {
    orders: mpsc::Sender<Asked>,
}

#[derive(Debug)]
struct Asked {
    order: Order,
    answer: oneshot::Sender<Result<Posted, LedgerError>>,
}

impl Ledger {
    /// Starts a writer on a database with the schema `market`, in a thread of its own: everybody waits for it, so none of its steps waits until
    /// the others' requests are answered.
    ///
    /// # Panics
    /// When the system has no thread left.
    pub fn start(pool: PgPool, rates: Rates) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING_MAX_ORDERS);
        let own = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime needs a few descriptors");
        let writer = thread::Builder::new().name("ledger".into());
        writer.spawn(move || own.block_on(write(pool, rates, waiting))).expect("the system has a thread");
        Self { orders }
    }

    /// Has an order done. When this future is dropped, it is done all the same.
    ///
    /// # Errors
    /// When it is refused, and then nothing of it was done; or when the outcome is not known, and then it may be asked for again with its key.
    pub async fn submit(&self, order: Order) -> Result<Posted, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Asked { order, answer }).map_err(|error| match error {
            TrySendError::Full(_) => LedgerError::Busy,
            TrySendError::Closed(_) => LedgerError::Unavailable,
        })?;
        answered.await.unwrap_or(Err(LedgerError::Unavailable))
    }
}

async fn write(pool: PgPool, rates: Rates, mut waiting: mpsc::Receiver<Asked>) {
    let rates = Arc::new(rates);
    let mut asked = Vec::with_capacity(BATCH_MAX_ORDERS);
    let mut link = None;
    while waiting.recv_many(&mut asked, BATCH_MAX_ORDERS).await > 0 {
        let (orders, answers): (Vec<_>, Vec<_>) = asked.drain(..).map(|asked| (asked.order, asked.answer)).unzip();
        let count = orders.len();
        // In a task of its own: an order that panics takes its batch with it, and not the writer.
        let appended = tokio::spawn(append(link.take(), pool.clone(), Arc::clone(&rates), orders)).await;
        match appended.unwrap_or_else(|panic| Err(sqlx::Error::Io(panic.into()))) {
            Ok((results, used)) => {
                link = Some(used);
                for (answer, result) in answers.into_iter().zip(results) {
                    // Who hung up does not want it.
                    let _ = answer.send(result.map_err(LedgerError::Refused));
                }
            }
            Err(error) => {
                tracing::error!(%error, orders = count, "a batch of the ledger failed");
                for answer in answers {
                    let _ = answer.send(Err(LedgerError::Unavailable));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The writer's own connection: it waits behind no request for one, and ends with the batch that fails.
struct Link {
    conn: PgConnection,
    used: Instant,
}

impl Link {
    async fn open(last: Option<Self>, pool: &PgPool) -> sqlx::Result<PgConnection> {
        if let Some(Self { mut conn, used }) = last
            && (used.elapsed() < TRUSTED || conn.ping().await.is_ok())
        {
            return Ok(conn);
        }
        let options = pool.connect_options();
        timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }
}

type Results = Vec<Result<Posted, Refused>>;

/// One database transaction: all orders that can be done are, each on what the ones before it left.
async fn append(last: Option<Link>, pool: PgPool, rates: Arc<Rates>, orders: Vec<Order>) -> sqlx::Result<(Results, Link)> {
    let mut conn = Link::open(last, &pool).await?;
    let mut tx = conn.begin_with(LOCK).await?;
    let mut batch = Batch::open(&mut tx, &orders).await?;
    let results = orders.iter().map(|order| batch.append(order, &rates)).collect();
    if batch.is_empty() {
        tx.rollback().await?;
    } else {
        batch.write(&mut tx).await?;
        tx.commit().await?;
    }
    Ok((results, Link { conn, used: Instant::now() }))
}
