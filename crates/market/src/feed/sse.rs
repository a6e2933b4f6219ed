//! The feed as server-sent events.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Instant};

use api::FeedQuery;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName},
};
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use super::{
    ALIVE_EVERY, Item, SLOW,
    reader::{End, Reader},
    ticket,
    viewer::Viewer,
};
use crate::{
    auth::{self, Caller},
    input::Params,
    operation::EventStream,
    problem::Problem,
    service::Market,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /api/v1/feed`: with `Authorization`, or with a ticket. The first event, `ready`, says where it begins; the last, `dropped`, why it ends.
pub(crate) async fn sse(
    State(market): State<Market>,
    caller: Option<Caller>,
    Params(query): Params<FeedQuery>,
    headers: HeaderMap,
) -> Result<EventStream, Problem> {
    let viewer = match (caller, &query.ticket) {
        (Some(caller), _) => Viewer::of(&caller)?,
        (None, Some(ticket)) => ticket::take(&market.pool, ticket).await?.ok_or_else(auth::refused)?,
        (None, None) => return Err(auth::refused()),
    };
    let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    let last = last.map(|id| id.ok_or_else(|| Problem::invalid("Last-Event-ID must be the id of an event"))).transpose()?;
    let reader = Reader::open(&market, viewer, &query, last.or(query.after)).await?;
    let frames = stream::unfold(Some(Frames::from(reader)), |frames| async move {
        let (frame, rest) = frames?.next().await?;
        Some((Ok::<_, Infallible>(frame), rest))
    });
    Ok(EventStream::of(frames))
}

/// What is sent, one frame after the other: the connection asks for the next when it has room.
struct Frames {
    reader: Reader,
    waiting: VecDeque<Arc<Item>>,
    /// The last number that was sent, and when.
    sent: i64,
    sent_at: Instant,
    begun: bool,
}

impl Frames {
    fn from(reader: Reader) -> Self {
        let sent = reader.cursor();
        Self { reader, waiting: VecDeque::new(), sent, sent_at: Instant::now(), begun: false }
    }

    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        if !self.begun {
            self.begun = true;
            let ready = format!("id: {0}\nevent: ready\ndata: {{\"seq\":{0}}}\n\n", self.sent);
            return Some(self.send(ready.into()));
        }
        if self.sent_at.elapsed() > SLOW {
            return Some(self.end(End::Slow));
        }
        if self.waiting.is_empty() {
            match tokio::time::timeout(ALIVE_EVERY, self.reader.next()).await {
                Ok(Ok(items)) => self.waiting.extend(items),
                Ok(Err(end)) => return Some(self.end(end)),
                Err(_) => {
                    // Its reader goes on here, although nothing came that is for it.
                    self.sent = self.reader.cursor();
                    let alive = format!("id: {}\n\n", self.sent);
                    return Some(self.send(alive.into()));
                }
            }
        }
        let item = self.waiting.pop_front()?;
        self.sent = item.seq;
        Some(self.send(item.sse.clone()))
    }

    fn send(mut self, frame: Bytes) -> (Bytes, Option<Self>) {
        self.sent_at = Instant::now();
        (frame, Some(self))
    }

    fn end(self, end: End) -> (Bytes, Option<Self>) {
        let data = json!({"reason": end.reason(self.sent), "code": end.code(), "after": self.sent});
        (format!("event: dropped\ndata: {data}\n\n").into(), None)
    }
}
