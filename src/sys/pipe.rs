//! Pipes and splice(2).
//!
//! What of splice(2) a relay must know, all of it seen in fs/splice.c and net/ipv4/tcp.c:
//!
//! - A pipe is full when its *slots* are, not its bytes: one-byte segments fill 64 KiB with 16.
//!   So EAGAIN from a socket into a pipe that holds something says nothing about the socket.
//! - EAGAIN from an empty pipe into a socket says nothing about the socket either.
//! - Its length is bounded by the slots, so one call never moves more than the pipe's size, and
//!   a call that moved less proves nothing. Yet a slot can hold more than a page: what is in a
//!   pipe can exceed its size.
//! - It only returns EAGAIN for a full socket if the *socket* is nonblocking; SPLICE_F_NONBLOCK
//!   speaks of the pipe alone.
//! - It raises SIGPIPE on a reset socket, and there is no flag against that. Rust's runtime
//!   ignores SIGPIPE before `main`; what is started from here gets the default back.
//! - SPLICE_F_MORE corks the last bytes for 200 ms. The kernel corks inside one call by itself.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{pipe2, read},
};

/// A nonblocking pipe that knows how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    len: usize,
}

impl Pipe {
    /// Opens a pipe of `size` bytes, or of what the kernel is willing to give: an unprivileged
    /// user over its `pipe-user-pages-soft` gets 8 KiB (pipe(7)). Ask [`Self::capacity`].
    ///
    /// # Errors
    /// Those of pipe2(2): EMFILE, ENFILE.
    pub fn new(size: usize) -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let wanted = i32::try_from(size).unwrap_or(i32::MAX);
        // Refused (EPERM, EBUSY) or not: what counts is the size read back.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(wanted));
        let got = fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?;
        Ok(Self {
            reader,
            writer,
            capacity: usize::try_from(got).unwrap_or(0),
            len: 0,
        })
    }

    /// How many bytes it takes, if they come in whole pages.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes are in it; at times more than its capacity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it. One that is not empty must never serve another connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves what `source` has into this pipe; 0 is the end of the stream.
    ///
    /// Only for an empty pipe, so that `WouldBlock` always means that the socket has nothing.
    ///
    /// # Errors
    /// The socket's, of recv(2); EINVAL, ENOSYS, EPERM or ENOMEM where splicing cannot be had.
    pub fn fill_from(&mut self, source: BorrowedFd<'_>) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "EAGAIN would be ambiguous");
        let moved = splice(source.as_raw_fd(), self.writer.as_raw_fd(), self.capacity)?;
        self.len += moved;
        Ok(moved)
    }

    /// Moves what is in this pipe to `sink`.
    ///
    /// Only for a pipe that is not empty, so that `WouldBlock` always means that the socket is
    /// full.
    ///
    /// # Errors
    /// The socket's, of send(2); EINVAL and the like where splicing cannot be had.
    pub fn drain_to(&mut self, sink: BorrowedFd<'_>) -> io::Result<usize> {
        debug_assert!(!self.is_empty(), "EAGAIN would be ambiguous");
        let moved = splice(self.reader.as_raw_fd(), sink.as_raw_fd(), self.len)?;
        self.len -= moved;
        Ok(moved)
    }

    /// Takes everything out into memory, for a sink that cannot be spliced to.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn take(&mut self) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; self.len];
        let mut filled = 0;
        while filled < bytes.len() {
            match read(&self.reader, &mut bytes[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => {
                    filled += got;
                    self.len -= got;
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes.into_boxed_slice())
    }
}

/// splice(2) without offsets; EINTR is tried again.
fn splice(from: i32, to: i32, len: usize) -> io::Result<usize> {
    loop {
        // SAFETY: both offsets are null, which pipes and sockets require; no memory of ours is
        // involved.
        let moved = unsafe {
            libc::splice(
                from,
                std::ptr::null_mut(),
                to,
                std::ptr::null_mut(),
                len,
                libc::SPLICE_F_NONBLOCK,
            )
        };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    fn nonblocking_pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    #[test]
    fn a_pipe_reports_the_size_it_really_has() {
        let pipe = Pipe::new(256 * 1024).unwrap();
        assert!(
            pipe.capacity() == 256 * 1024 || pipe.capacity() < 64 * 1024,
            "{pipe:?}"
        );
        assert!(pipe.is_empty());
    }

    #[test]
    fn both_ends_are_closed_on_exec_and_nonblocking() {
        let pipe = Pipe::new(65536).unwrap();
        for fd in [&pipe.reader, &pipe.writer] {
            assert_eq!(
                fcntl(fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC,
                libc::FD_CLOEXEC
            );
            assert_eq!(
                fcntl(fd, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK,
                libc::O_NONBLOCK
            );
        }
    }

    #[test]
    fn it_counts_what_goes_in_and_out() {
        let (source, mut feeder) = nonblocking_pair();
        let (sink, mut eater) = nonblocking_pair();
        let mut pipe = Pipe::new(65536).unwrap();
        let dry = pipe.fill_from(source.as_fd()).unwrap_err();
        assert_eq!(dry.kind(), io::ErrorKind::WouldBlock);
        feeder.write_all(b"twelve bytes").unwrap();
        assert_eq!(pipe.fill_from(source.as_fd()).unwrap(), 12);
        assert_eq!(pipe.len(), 12);
        assert_eq!(pipe.drain_to(sink.as_fd()).unwrap(), 12);
        assert!(pipe.is_empty());
        let mut out = [0; 12];
        eater.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"twelve bytes");
        drop(feeder);
        assert_eq!(pipe.fill_from(source.as_fd()).unwrap(), 0);
    }

    #[test]
    fn what_is_in_it_can_be_taken_back() {
        let (source, mut feeder) = nonblocking_pair();
        let mut pipe = Pipe::new(65536).unwrap();
        feeder.write_all(b"kept").unwrap();
        pipe.fill_from(source.as_fd()).unwrap();
        assert_eq!(&*pipe.take().unwrap(), b"kept");
        assert!(pipe.is_empty());
    }
}
