//! `florin escrow`: money that waits for a delivery.

mod terms;

pub(super) use terms::{Terms, load_terms, terms_in_words};
