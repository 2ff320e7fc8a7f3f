//! The configuration, through its public face.

mod support {}
