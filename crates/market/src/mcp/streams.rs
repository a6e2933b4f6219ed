//! Server-sent events: the streams that clients of revision 2024-11-05 keep open while they post messages.
//!
//! A stream is at the instance that opened it, and in its memory. What answers a post is never lost with it: a call that was cut off is repeated, as one
//! whose answer was lost.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use api::Code;
use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::rpc::Fault;
use crate::{auth, limits::Principal, operation::EventStream, problem::Problem};

/// Streams of one principal, and of all, at one instance.
const OF_ONE_MAX: usize = 8;
const OF_ALL_MAX: usize = 512;
/// Messages of one stream that are worked on, or whose answers nobody has read.
const WAITING_MAX: usize = 8;
/// How long one more waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// For each message its answer, and something to be asked before.
const QUEUE_LEN: usize = 2 * WAITING_MAX;
/// Longest answer in a stream.
const ANSWER_LEN_MAX_BYTES: usize = 4 * 1024 * 1024;
/// A silent stream is shown to be alive so often.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Nothing was posted for so long: the stream ends.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// What a client is told to wait that opens too many.
const RETRY_SECONDS: u64 = 10;

/// What is sent, and the place that it takes until it is read.
pub(super) type Event = (Bytes, Option<OwnedSemaphorePermit>);

/// A message as an event.
pub(super) fn event(message: &Value) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

/// Streams that are open here.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<String, Arc<Stream>>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Stream {
    owner: Principal,
    pub(super) events: mpsc::Sender<Event>,
    /// Its client can ask its user something.
    can_ask: AtomicBool,
    places: Arc<Semaphore>,
    posted_at: Mutex<Instant>,
}

impl Streams {
    /// A stream for whoever asks for one. Its first event says where to post to.
    pub(super) fn open(
        self: &Arc<Self>,
        owner: Principal,
        closing: &CancellationToken,
        endpoint: impl FnOnce(&str) -> String,
    ) -> Result<EventStream, Problem> {
        let id = alloy::hex::encode(&auth::random().0[..16]);
        let (sender, events) = mpsc::channel(QUEUE_LEN);
        let (places, posted_at) = (Arc::new(Semaphore::new(WAITING_MAX)), Mutex::new(Instant::now()));
        let stream = Arc::new(Stream { owner, events: sender, can_ask: AtomicBool::new(false), places, posted_at });
        self.add(&id, &stream)?;
        let first = format!("event: endpoint\ndata: {}\n\n", endpoint(&id));
        let open = Open { streams: Arc::clone(self), id, stream, closing: closing.clone() };
        Ok(response(Some(first.into()), events, Some(open)))
    }

    fn add(&self, id: &str, stream: &Arc<Stream>) -> Result<(), Problem> {
        let mut open = self.lock();
        // Of one whose client reads nothing, nobody else asks whether it is idle.
        open.retain(|_, stream| !stream.is_idle());
        if open.values().filter(|other| other.owner == stream.owner).count() >= OF_ONE_MAX {
            let detail =
                format!("At most {OF_ONE_MAX} streams are open for one client: close one, or post to /mcp, which needs none");
            return Err(Problem::too_often(detail, RETRY_SECONDS));
        }
        if open.len() >= OF_ALL_MAX {
            return Err(Problem::new(Code::Unavailable, "Too many streams are open here: post to /mcp, which needs none"));
        }
        open.insert(id.to_owned(), Arc::clone(stream));
        Ok(())
    }

    /// The stream of this id, if it is the caller's.
    pub(super) fn find(&self, id: &str, who: Principal) -> Option<Arc<Stream>> {
        self.lock().get(id).filter(|stream| is_one(stream.owner, who)).map(Arc::clone)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether both are one. Nobody known may come from one address and then another, and has the id of the stream.
fn is_one(one: Principal, other: Principal) -> bool {
    match (one, other) {
        (Principal::Ip(_), Principal::Ip(_)) => true,
        (Principal::Agent { id: one, .. }, Principal::Agent { id: other, .. }) => one == other,
        _ => one == other,
    }
}

impl Stream {
    /// Room for the answer to one more message; none when the client reads none.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        *self.posted_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::time::timeout(TURN_WAIT, place).await.ok()?.ok()
    }

    /// Sends an answer to whoever still reads.
    pub(super) fn put(&self, message: &Value, place: OwnedSemaphorePermit) {
        let mut frame = event(message);
        if frame.len() > ANSWER_LEN_MAX_BYTES {
            frame = event(&Fault::too_long().message(message.get("id").cloned()));
        }
        let _ = self.events.try_send((frame, Some(place)));
    }

    pub(super) fn begin(&self, can_ask: bool) {
        self.can_ask.store(can_ask, Ordering::Relaxed);
    }

    pub(super) fn can_ask(&self) -> bool {
        self.can_ask.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.posted_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE_MAX
    }
}

/// A stream while its client reads it.
struct Open {
    streams: Arc<Streams>,
    id: String,
    stream: Arc<Stream>,
    closing: CancellationToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.id);
    }
}

/// An answer of events: until nobody can send any more, or the stream that is open is over.
fn response(first: Option<Bytes>, events: mpsc::Receiver<Event>, open: Option<Open>) -> EventStream {
    let frames = stream::unfold(Frames { first, events, open }, |frames| async move {
        let (frame, rest) = frames.next().await?;
        Some((Ok::<_, Infallible>(frame), rest))
    });
    EventStream::of(frames)
}

/// An answer of the events that come from here, until what sends them is dropped.
pub(super) fn answer(events: mpsc::Receiver<Event>) -> EventStream {
    response(None, events, None)
}

/// What is sent, one frame after the other: the connection asks for the next when it has room.
struct Frames {
    first: Option<Bytes>,
    events: mpsc::Receiver<Event>,
    open: Option<Open>,
}

impl Frames {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(first) = self.first.take() {
            return Some((first, self));
        }
        if self.open.as_ref().is_some_and(|open| open.stream.is_idle()) {
            return None;
        }
        let Self { events, open, .. } = &mut self;
        let next = async {
            match open {
                Some(open) => open.closing.run_until_cancelled(events.recv()).await.flatten(),
                None => events.recv().await,
            }
        };
        let next = tokio::time::timeout(ALIVE_EVERY, next).await;
        match next {
            // The place is free from here on.
            Ok(event) => event.map(|(frame, _)| (frame, self)),
            Err(_) => Some((Bytes::from_static(b": alive\n\n"), self)),
        }
    }
}
