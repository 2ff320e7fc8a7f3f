//! What holds for whatever comes out of a netlink socket.

use std::{cell::LazyCell, path::Path};

use nix::sys::stat::{FileStat, stat};

use super::{message::Reply, tcp::inet_listener, unix::unix_listener};

thread_local! {
    static FILE: LazyCell<FileStat> =
        LazyCell::new(|| stat("/").expect("there is a root"));
}

pub(crate) fn all(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((reply, next)) = Reply::split(rest) {
        assert!(next.len() < rest.len(), "it reads one message for ever");
        rest = next;
        let told = reply.result().map_err(|error| error.raw_os_error());
        assert!(told != Err(None), "an error without a number");
        inet_listener(reply.body);
        let path = Path::new("/run/x.sock");
        FILE.with(|file| unix_listener(reply.body, path, file));
    }
}
