//! Scheme `auth-capture`: puts money into an escrow before the work, and pays it out or gives it back after it. A signer of ours is the
//! operator, so nobody but us can capture; what we capture and void is what the server's key, to which the payer's signature commits, signed.

mod chain;
mod settle;
mod verify;

pub(crate) use settle::settle;
pub(crate) use verify::verify;

use x402::{Network, Scheme, SupportedKind, auth_capture::extra};

use crate::engine::Engine;

/// The kind of this scheme in `/supported`, when there is an escrow: each caller is given the next signer.
pub(crate) fn kind(engine: &Engine, network: &Network) -> Option<SupportedKind> {
    let extra = extra(engine.verifier.escrow.as_ref()?, engine.next_signer());
    let (scheme, network) = (Scheme::AuthCapture.as_str().to_owned(), network.to_string());
    Some(SupportedKind { x402_version: 2, scheme, network, extra: Some(extra) })
}
