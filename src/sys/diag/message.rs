//! Netlink's own: the head of a request, and replies one by one.

use std::io;

use nix::libc;

/// `NLMSG_HDRLEN`: length, type, flags, sequence, port.
const HEADER: usize = 16;

/// `SOCK_DIAG_BY_FAMILY`, for requests and replies alike.
pub(super) const BY_FAMILY: u16 = 20;

/// One message of the kernel.
pub(super) struct Reply<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// The first message, and those after it; `None` where no whole one is left.
    pub(super) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER..length)?;
        let reply = Self {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((reply, next))
    }

    /// What an error, or the end of a dump, says: a negative errno, or zero.
    pub(super) fn result(&self) -> io::Result<()> {
        let code = self
            .body
            .first_chunk()
            .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
    }
}

pub(super) fn with_header(request: &[u8], flags: libc::c_int, sequence: u32) -> Vec<u8> {
    let length = u32::try_from(HEADER + request.len()).expect("requests have a fixed, small size");
    let flags = u16::try_from(flags).expect("netlink flags have 16 bits");
    let mut message = Vec::with_capacity(HEADER + request.len());
    message.extend(length.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(request);
    message
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
