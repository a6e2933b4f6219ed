//! Webhooks by the Standard Webhooks specification (standardwebhooks.com): the feed, posted to whoever registered for it.

mod deliver;
mod store;

pub(crate) use deliver::run;
pub(crate) use store::{Dead, RegisterError, Registered, Shown, dead_letters, list, register, remove, replay};
pub(crate) use webhook::Guard;

/// Registered at the same time.
pub(crate) const ENDPOINTS_MAX: i64 = 100;
/// Deliveries of an endpoint that wait or are dead. While there are so many the rest stays in the tables of the chain.
pub(crate) const WAITING_MAX: i64 = 10_000;
