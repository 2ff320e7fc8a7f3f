//! One listening socket of the process.

use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing::error;

use crate::{
    model::{ListenAddr, ServiceName, Slug},
    sys::{diag::Diag, net::ListenSocket},
    systemd::generator::unit_name,
};

/// A listening socket, and whose it is.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) id: SocketId,
    pub(super) socket: ListenSocket,
    pub(super) origin: Origin,
    /// Whose it is.
    pub(super) claimed: Option<Slug>,
    /// Its refuser knows of it: it was said that nobody claims it.
    pub(super) refused: bool,
}

/// Tells one listening socket from all others there have been, whatever their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct SocketId(pub(super) u64);

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// From systemd's socket unit, by this name.
    Inherited(String),
    /// We bound it, for this address; it may be in systemd's store by that name.
    Bound(ListenAddr),
}

/// A socket that we have closed. Others may have it yet: services, who have duplicates, and
/// systemd, which closes what it had in its store a moment after it was told to.
#[derive(Debug)]
pub(in crate::daemon) struct Gone {
    addr: ListenAddr,
    inode: u64,
}

// === impl Gone ===

impl Gone {
    /// Whether nobody has it any more. Where the kernel cannot be asked, that is to be hoped.
    pub(in crate::daemon) fn is_closed(&self) -> bool {
        let listener = Diag::open().and_then(|mut diag| diag.listening_at(&self.addr));
        !matches!(listener, Ok(Some(listener)) if u64::from(listener.inode) == self.inode)
    }
}

// === impl Owned ===

impl Owned {
    /// The name of the generated unit that gave it, if one did: its name is the slug then.
    pub(super) fn generated_unit(&self) -> Option<String> {
        let Origin::Inherited(name) = &self.origin else {
            return None;
        };
        let slug = ServiceName::new(name.as_str()).slug()?;
        let addr = self.socket.listen_addr().ok()?;
        (slug.as_str() == name).then(|| unit_name(&slug, &addr))
    }

    /// What is known of it when it is closed. `None` where its bookkeeping cannot be read.
    pub(super) fn gone(&self) -> Option<Gone> {
        Some(Gone {
            addr: self.socket.listen_addr().ok()?,
            inode: fstat(self.socket.as_fd()).ok()?.st_ino,
        })
    }

    pub(super) fn serves(&self, addr: &ListenAddr) -> bool {
        self.socket.serves(addr).unwrap_or(false)
    }

    pub(super) fn describe(&self) -> String {
        let at = self
            .socket
            .listen_addr()
            .map_or_else(|e| e.to_string(), |addr| addr.to_string());
        match &self.origin {
            Origin::Inherited(name) => format!("'{name}' ({at})"),
            Origin::Bound(_) => at,
        }
    }

    pub(super) fn duplicate(&self) -> Option<ListenSocket> {
        let duplicate = self.socket.as_fd().try_clone_to_owned();
        duplicate
            .map_err(|e| e.to_string())
            .and_then(|fd| ListenSocket::from_fd(fd).map_err(|e| e.to_string()))
            .inspect_err(|e| error!("the socket {} cannot be used: {e}", self.describe()))
            .ok()
    }
}
