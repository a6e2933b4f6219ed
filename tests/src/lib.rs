//! End-to-end scenarios against the whole stack; see `tests/it`.
