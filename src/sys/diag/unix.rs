//! The question for unix sockets, and which of them is at a path.

use std::{os::unix::ffi::OsStrExt, path::Path};

use nix::{
    libc,
    sys::stat::{FileStat, major, minor},
};

use super::{
    LISTEN, Listener,
    message::{u16_at, u32_at},
};

/// `struct unix_diag_req` for every listening socket with its name, its file and its user.
pub(super) fn unix_request() -> Vec<u8> {
    const SHOW_NAME_VFS_UID: u32 = 0x01 | 0x02 | 0x40;

    let mut request = Vec::with_capacity(24);
    request.push(u8::try_from(libc::AF_UNIX).expect("it is 1"));
    request.extend([0, 0, 0]);
    request.extend((1_u32 << LISTEN).to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(SHOW_NAME_VFS_UID.to_ne_bytes());
    request.extend([0xff; 8]);
    request
}

/// Reads `struct unix_diag_msg` and its attributes: is it a listener whose file this is?
///
/// The inode says so, so that neither a relative name nor a symbolic link deceives, nor an old
/// listener whose path somebody else has taken. The device must agree too, or at least the name:
/// some file systems (btrfs, overlayfs) show another device than the kernel's own.
pub(super) fn unix_listener(reply: &[u8], path: &Path, file: &FileStat) -> Option<Listener> {
    const NAME: u16 = 0;
    const VFS: u16 = 1;
    const UID: u16 = 7;

    let (kind, state) = (i32::from(*reply.get(1)?), *reply.get(2)?);
    if state != LISTEN || !matches!(kind, libc::SOCK_STREAM) {
        return None;
    }
    let (mut same_name, mut same_inode, mut same_device, mut uid) = (false, false, false, None);
    let mut rest = reply.get(16..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match kind {
            NAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                same_name = name == path.as_os_str().as_bytes();
            }
            VFS => {
                // The kernel cuts the inode to 32 bits, and writes a device its own way.
                let device = (major(file.st_dev) << 20) | minor(file.st_dev);
                same_inode = u32_at(value, 0).map(u64::from) == Some(file.st_ino & 0xffff_ffff);
                same_device = u32_at(value, 4).map(u64::from) == Some(device);
            }
            UID => uid = u32_at(value, 0),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let found = same_inode && (same_device || same_name);
    found.then_some(Listener {
        uid,
        inode: u32_at(reply, 4)?,
    })
}
