//! Feature `server`: charge for an answer, once per payment, and only when there is an answer.

mod answer;
mod backend;
#[cfg(any(feature = "a2a", feature = "mcp"))]
pub(crate) mod call;
mod channels;
mod escrow;
mod extras;
mod gate;
mod layer;
mod metrics;
mod openapi;
mod paywall;
mod reservations;
mod settle;
mod verified;

#[cfg(feature = "postgres")]
pub use channels::PostgresChannels;
pub use channels::{
    Authorizer, Channel, ChannelManager, ChannelStore, Channels, ClaimPolicy, Claimed, ManagerError, MemoryChannels, Pending,
};
pub use escrow::Escrow;
pub use extras::{Extras, SignInRule};
pub use gate::{Gate, Offers, Outcome};
pub use layer::{PaidLayer, PaidService, Payer, PaymentInfo, Pricing, Seller};
pub use openapi::annotate;
#[cfg(feature = "postgres")]
pub use reservations::PostgresReservations;
#[cfg(feature = "redis")]
pub use reservations::RedisReservations;
pub use reservations::{Claim, Kept, Lease, MemoryReservations, ReservationError, Reservations, Served, Work};
pub use settle::Settled;
pub use verified::{Streamed, VerifiedPayment};
