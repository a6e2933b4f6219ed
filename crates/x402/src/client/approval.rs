use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use money::Usdc;
use url::Url;

use super::Refusal;
use crate::PaymentRequirements;

/// A payment that is about to be signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Proposal {
    /// What is bought.
    pub url: Url,
    /// What it costs.
    pub price: Usdc,
    /// The offer, whole.
    pub requirement: PaymentRequirements,
}

type Ask = dyn Fn(Proposal) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

/// Who is asked above which price, and for how long.
#[derive(Clone)]
pub(super) struct Approval {
    threshold: Usdc,
    wait_max: Duration,
    ask: Arc<Ask>,
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approval").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl Approval {
    pub(super) fn new<F, Fut>(threshold: Usdc, wait_max: Duration, ask: F) -> Self
    where
        F: Fn(Proposal) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Self { threshold, wait_max, ask: Arc::new(move |proposal| Box::pin(ask(proposal))) }
    }

    pub(super) fn is_needed(&self, price: Usdc) -> bool {
        price > self.threshold
    }

    pub(super) async fn get(&self, proposal: Proposal) -> Result<(), Refusal> {
        let (price, threshold) = (proposal.price, self.threshold);
        match tokio::time::timeout(self.wait_max, (self.ask)(proposal)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Declined { price, threshold }),
            Err(_) => Err(Refusal::NotApprovedInTime { price, threshold, waited_secs: self.wait_max.as_secs() }),
        }
    }
}
