//! The feed over server-sent events and over WebSocket.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy::primitives::Address;
use axum::{
    extract::{
        ConnectInfo, RawPathParams, RawQuery, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::HeaderMap,
    response::{
        Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;

use super::{ApiState, Chain, input, places::Place, problem::Problem};
use crate::{
    feed::{self, Cursor, FeedError, Item, Topic, Wish},
    read::PaymentKind,
    schema,
};

/// Items that wait for a reader. What comes after them waits in the tables.
const WAITING_MAX: usize = 64;
/// The tables are read so often also when nothing rings.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A silent connection is shown to be alive so often.
const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long to wait before the database is asked again after it failed.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// events, transfers, payments, blocks, separated by commas; without it, payments.
    topics: Option<String>,
    /// Events that mention this account, transfers and payments from or to it.
    #[schemars(with = "Option<schema::Address>")]
    account: Option<Address>,
    /// Events of this contract.
    #[schemars(with = "Option<schema::Address>")]
    contract: Option<Address>,
    /// Events of this name, as PaymentExecuted.
    name: Option<String>,
    /// Payments that went this way.
    kind: Option<PaymentKind>,
    /// Tell of a block once it has so many confirmations; 1 tells at once. Above the chain's finality nothing is ever undone.
    confirmations: Option<u64>,
    /// Begin with this block; without it and without a cursor, with the next block.
    from_block: Option<u64>,
    /// Go on after this item. A client of server-sent events sends it as `Last-Event-ID` by itself.
    cursor: Option<String>,
}

impl Filter {
    pub(super) fn first_block(&self) -> Option<u64> {
        self.from_block
    }

    pub(super) fn wish(&self) -> Result<Wish, Problem> {
        const HELP: &str = "topics must be some of events, transfers, payments, blocks, separated by commas";
        let topics = self.topics.as_deref().unwrap_or("payments").split(',');
        let topics = topics.map(|topic| serde_json::from_value::<Topic>(topic.into()));
        let mut topics = topics.collect::<Result<Vec<_>, _>>().map_err(|_| Problem::invalid_parameter(HELP))?;
        topics.sort_unstable();
        topics.dedup();
        let (account, contract, name, kind) = (self.account, self.contract, self.name.clone(), self.kind);
        if name.as_ref().is_some_and(|name| name.contains('\0')) {
            return Err(Problem::invalid_parameter("name contains a zero byte"));
        }
        Ok(Wish { topics, account, contract, name, kind, confirmations: self.confirmations.unwrap_or(1) })
    }
}

impl From<FeedError> for Problem {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Database(error) => error.into(),
            error => Self::invalid_parameter(error.to_string()),
        }
    }
}

/// A reader that was let in.
struct Reader {
    chain: Arc<Chain>,
    wish: Wish,
    cursor: Cursor,
    shutdown: CancellationToken,
    /// If it takes nothing for longer it is dropped, and can come back with its cursor.
    slow: Duration,
    _place: Place,
}

impl Reader {
    async fn admit(
        api: &ApiState,
        address: IpAddr,
        path: &RawPathParams,
        query: Option<String>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        let filter: Filter = input::params(&pairs)?;
        let wish = filter.wish()?;
        let chain = path.iter().find(|(name, _)| *name == "chain").map_or("", |(_, value)| value);
        let chain = api.chain(chain)?.clone();
        let _place = api.readers.take(address)?;
        let mut conn = chain.pool.acquire().await?;
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let cursor = match last.or(filter.cursor) {
            Some(text) => {
                let cursor = text.parse()?;
                feed::check(&mut conn, &cursor).await?;
                cursor
            }
            None => feed::begin(&mut conn, filter.from_block).await?,
        };
        drop(conn);
        Ok(Self { chain, wish, cursor, shutdown: api.shutdown.clone(), slow: api.slow, _place })
    }

    /// Reads the feed as fast as the items are taken, and says why it ends.
    fn start(mut self) -> (mpsc::Receiver<Item>, Arc<OnceLock<&'static str>>) {
        let (send, items) = mpsc::channel(WAITING_MAX);
        let (why, shutdown) = (Arc::new(OnceLock::new()), self.shutdown.clone());
        let reason = why.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                end = self.read(&send) => end,
                () = shutdown.cancelled() => "the server stops: come back with the cursor",
                () = send.closed() => "the reader left",
            };
            let _ = reason.set(end);
        });
        (items, why)
    }

    async fn read(&mut self, send: &mpsc::Sender<Item>) -> &'static str {
        let mut bell = self.chain.bell.clone();
        loop {
            match feed::next(&self.chain.pool, &self.wish, &mut self.cursor).await {
                Ok(items) if items.is_empty() => bell.rang(LOOK_INTERVAL).await,
                Ok(items) => {
                    for item in items {
                        if send.send_timeout(item, self.slow).await.is_err() {
                            return "too slow: come back with the cursor";
                        }
                    }
                }
                Err(FeedError::Database(error)) => {
                    tracing::warn!(%error, "the feed cannot be read, trying again");
                    tokio::time::sleep(DATABASE_RETRY).await;
                }
                Err(FeedError::Malformed | FeedError::Unknown | FeedError::NotYet { .. }) => {
                    return "the mirror was made again: begin at a block";
                }
            }
        }
    }
}

/// `GET .../stream`: server-sent events. The last says why there are no more.
pub(super) async fn sse(
    State(api): State<ApiState>,
    ConnectInfo(reader): ConnectInfo<SocketAddr>,
    path: RawPathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl stream::Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (items, why) = Reader::admit(&api, reader.ip(), &path, query, &headers).await?.start();
    let items = stream::unfold(items, |mut items| async { items.recv().await.map(|item| (event(&item), items)) });
    let end = stream::once(async move {
        let reason = why.get().copied().unwrap_or("it ended");
        Event::default().event("dropped").data(serde_json::json!({"reason": reason}).to_string())
    });
    Ok(Sse::new(items.chain(end).map(Ok)).keep_alive(KeepAlive::new().interval(ALIVE_INTERVAL)))
}

fn event(item: &Item) -> Event {
    Event::default().event(item.kind).id(item.cursor.to_string()).data(item.data.to_string())
}

/// `GET .../stream/ws`: each item is one message; the reason of a close says why there are no more.
pub(super) async fn ws(
    State(api): State<ApiState>,
    ConnectInfo(reader): ConnectInfo<SocketAddr>,
    path: RawPathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let reader = Reader::admit(&api, reader.ip(), &path, query, &headers).await?;
    // Nothing but pings and a close is expected from the reader.
    Ok(upgrade.max_frame_size(1024).max_message_size(1024).on_upgrade(move |socket| send_all(reader, socket)))
}

async fn send_all(reader: Reader, mut socket: WebSocket) {
    let slow = reader.slow;
    let (mut items, why) = reader.start();
    let mut alive = tokio::time::interval(ALIVE_INTERVAL);
    loop {
        let message = tokio::select! {
            item = items.recv() => match item {
                Some(item) => Message::text(serde_json::to_string(&item).unwrap_or_default()),
                None => break,
            },
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = alive.tick() => Message::Ping(Default::default()),
        };
        if !matches!(tokio::time::timeout(slow, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let reason = why.get().copied().unwrap_or("it ended");
    let close = Message::Close(Some(CloseFrame { code: close_code::AGAIN, reason: reason.into() }));
    let _ = tokio::time::timeout(slow, socket.send(close)).await;
}
