//! The HTTP API on a unix socket, server and client side by side.
