//! Sockets that are not yet with the runtime: listening, accepted, connecting.
