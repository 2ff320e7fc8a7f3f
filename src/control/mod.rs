//! The control API: HTTP/1.1 on a unix socket, its server and its client side by side.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`api`] | what can be asked, and what is answered |
//! | [`socket`] | the listening socket: who may reach it, and that there is one daemon |
//! | [`server`] | reads requests, with a limit on everything a client can make grow |
//! | [`client`] | asks, with a deadline, and says what went wrong in exit codes |
//! | [`table`] | shows the answer to people |

pub mod api;
pub mod client;
pub mod server;
pub mod socket;
pub mod table;

pub use api::{Request, Response, Status};
pub use client::{Client, ClientError};
pub use server::serve;
