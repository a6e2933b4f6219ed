use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::Header;

/// The newest block that an endpoint pushed. It is a hint: whoever takes it proves it like any other, and looks by himself besides.
#[derive(Debug, Default)]
pub(crate) struct NewHeads {
    newest: Mutex<Option<(usize, Header)>>,
    pushing: AtomicUsize,
    news: Notify,
}

impl NewHeads {
    pub(super) fn push(&self, endpoint: usize, header: Header) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((endpoint, header));
        self.news.notify_one();
    }

    /// The index of the endpoint that pushed it, and the block; each block once.
    pub(super) fn take(&self) -> Option<(usize, Header)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends when a block is pushed, at once when one was meanwhile.
    pub(crate) async fn wait(&self) {
        self.news.notified().await;
    }

    /// Whether an endpoint pushes, so that looking is only the fallback.
    pub(crate) fn are_pushed(&self) -> bool {
        self.pushing.load(Ordering::Relaxed) > 0
    }

    pub(super) fn begin(&self) -> Pushing<'_> {
        self.pushing.fetch_add(1, Ordering::Relaxed);
        Pushing(self)
    }
}

/// An endpoint pushes for as long as this lives.
pub(super) struct Pushing<'a>(&'a NewHeads);

impl Drop for Pushing<'_> {
    fn drop(&mut self) {
        self.0.pushing.fetch_sub(1, Ordering::Relaxed);
    }
}
