//! Feature `server`: charge for an answer, once per payment, and only when there is an answer.

mod answer;
mod backend;
mod gate;
mod layer;
mod reservations;
mod settle;

pub use gate::{Gate, Offers, Outcome, VerifiedPayment};
pub use layer::{PaidLayer, PaidService, PaymentInfo, Pricing};
#[cfg(feature = "postgres")]
pub use reservations::PostgresReservations;
#[cfg(feature = "redis")]
pub use reservations::RedisReservations;
pub use reservations::{Claim, Kept, Lease, MemoryReservations, ReservationError, Reservations, Served, Work};
pub use settle::Settled;
