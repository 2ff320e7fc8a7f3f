//! The relay between real sockets.
