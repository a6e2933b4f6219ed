//! Feature `server`: charge for an answer, once per payment, and only when there is an answer.

mod answer;
mod backend;
mod gate;
mod layer;
mod reservations;
mod settle;

pub use gate::{Gate, Offers, Outcome, VerifiedPayment};
pub use layer::{PaidLayer, PaidService, PaymentInfo, Pricing};
pub use reservations::{Claim, Kept, MemoryReservations, ReservationError, Reservations, Work};
pub use settle::Settled;
