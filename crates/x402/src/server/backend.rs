use std::sync::Arc;

use super::channels::Turn;
use crate::{FacilitatorClient, FacilitatorError, PaymentRequest, Scheme, SettleResponse, VerifyResponse};

/// Who judges and settles the payments of a scheme.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// The facilitator, where every payment moves money by itself.
    Facilitator(FacilitatorClient),
    /// The seller's own store of channels.
    Channel(Arc<Turn>),
}

impl Backend {
    /// Of `scheme`; `None` when it is not served.
    pub(super) fn of(scheme: Scheme, facilitator: &FacilitatorClient) -> Option<Self> {
        match scheme {
            Scheme::Exact | Scheme::Upto | Scheme::AuthCapture => Some(Self::Facilitator(facilitator.clone())),
            Scheme::BatchSettlement => None,
        }
    }

    pub(super) async fn verify(&self, request: &PaymentRequest) -> Result<VerifyResponse, FacilitatorError> {
        match self {
            Self::Facilitator(facilitator) => facilitator.verify(request).await,
            Self::Channel(turn) => turn.verify(request).await,
        }
    }

    pub(super) async fn settle(&self, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        match self {
            Self::Facilitator(facilitator) => facilitator.settle(request).await,
            Self::Channel(turn) => turn.settle(request).await,
        }
    }
}
