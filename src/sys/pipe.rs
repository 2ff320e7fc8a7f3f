//! Pipes and splice(2).
