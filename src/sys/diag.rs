//! Who listens? Asks the kernel by NETLINK_SOCK_DIAG (sock_diag(7)).
