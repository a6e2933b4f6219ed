use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Chain, problem::Problem};
use crate::chains;

/// A chain of the configuration. It is served from when it could be started; until then its place says why it could not.
#[derive(Default)]
pub(crate) struct Slot {
    /// As the configuration has it, if it does.
    id: Option<u64>,
    chain: OnceLock<Arc<Chain>>,
    why: Mutex<String>,
}

impl Slot {
    pub(crate) fn new(id: Option<u64>) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn started(&self) -> Option<&Arc<Chain>> {
        self.chain.get()
    }

    /// From now on it is served.
    pub(crate) fn start(&self, chain: Arc<Chain>) {
        let _ = self.chain.set(chain);
    }

    pub(crate) fn failed(&self, why: impl ToString) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why.to_string();
    }

    pub(crate) fn id(&self) -> Option<u64> {
        self.started().map(|chain| chain.id).or(self.id)
    }

    /// What it is called in paths and messages.
    pub(crate) fn name(&self) -> String {
        self.id().map_or_else(|| "chain".to_owned(), chains::name)
    }

    /// Its chain, or why there is none yet.
    pub(super) fn chain(&self) -> Result<&Arc<Chain>, Problem> {
        let why = || self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.started().ok_or_else(|| Problem::unavailable(format!("{} could not be started yet: {}", self.name(), why())))
    }
}
