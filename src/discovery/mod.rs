//! Where destinations come from: fixed ones for now.
