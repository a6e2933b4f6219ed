//! The stack's promises, on real processes.

mod processes;
