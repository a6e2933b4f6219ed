use std::fmt;

use url::Url;

use super::{PayError, Proposal};
use crate::{PaymentRequirements, SettleResponse};

/// Told what a client does about payments, and may forbid one. Called where the payment waits: be brief, never block.
pub trait Hooks: Send + Sync {
    /// A server asks for payment.
    fn on_payment_required(&self, _url: &Url, _offers: &[PaymentRequirements]) {}

    /// A payment that the policy allows is about to be signed.
    ///
    /// # Errors
    /// A reason not to: nothing is signed.
    fn before_payment(&self, _proposal: &Proposal) -> Result<(), String> {
        Ok(())
    }

    /// A payment was signed and will be sent.
    fn after_payment(&self, _proposal: &Proposal) {}

    /// No payment was signed, or what was sent came to no good end.
    fn on_failure(&self, _url: &Url, _error: &PayError) {}

    /// A payment was answered, with a receipt or, when the seller did not settle, without.
    fn on_response(&self, _url: &Url, _receipt: Option<&SettleResponse>) {}
}

/// Does nothing.
pub(super) struct NoHooks;

impl Hooks for NoHooks {}

impl fmt::Debug for dyn Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}
