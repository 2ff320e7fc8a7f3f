//! How the end of a COMMAND is noticed.

use std::{io, mem, time::Duration};

use nix::{errno::Errno, unistd::Pid};
use tokio::time::sleep;

use crate::{
    model::ProcessId,
    sys::process::{PidFd, Unwatched, WatchedProcess, start_time},
};

/// How often it is looked for whose end is no event.
const LOOK: Duration = Duration::from_millis(250);

/// A process whose end is waited for.
///
/// One that somebody uses is neither ended nor forgotten because the machine has no room for its
/// event right now: it is looked for until there is.
#[derive(Debug)]
pub(super) struct Watch {
    id: ProcessId,
    how: How,
}

#[derive(Debug)]
enum How {
    Event(WatchedProcess),
    /// The runtime has no room for it.
    Asked(PidFd),
    /// Nor was there a descriptor of it to be had.
    ByNumber,
}

impl Watch {
    pub(super) fn event(id: ProcessId, watched: WatchedProcess) -> Self {
        let how = How::Event(watched);
        Self { id, how }
    }

    /// As well as it can be; says why where that is not by an event. Needs a runtime.
    pub(super) fn of(id: ProcessId, pidfd: io::Result<PidFd>) -> (Self, Option<io::Error>) {
        let (how, why_not) = match pidfd.map(WatchedProcess::new) {
            Ok(Ok(watched)) => (How::Event(watched), None),
            Ok(Err(Unwatched { process, source })) => (How::Asked(process), Some(source)),
            Err(why) => (How::ByNumber, Some(why)),
        };
        (Self { id, how }, why_not)
    }

    /// Waits until it has ended, reaped or not. Asked again, it says so again.
    pub(super) async fn ended(&mut self) {
        loop {
            if let How::Event(watched) = &self.how {
                return watched.ended().await;
            }
            // What cannot be seen has not ended.
            if matches!(self.has_ended(), Ok(true)) {
                return;
            }
            sleep(LOOK).await;
            self.try_again();
        }
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// Where that cannot be seen.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        match &self.how {
            How::Event(watched) => watched.has_ended(),
            How::Asked(pidfd) => pidfd.has_ended(),
            How::ByNumber => is_gone(self.id),
        }
    }

    fn try_again(&mut self) {
        let pidfd = match mem::replace(&mut self.how, How::ByNumber) {
            How::Asked(pidfd) => Ok(pidfd),
            How::ByNumber => self.open(),
            event @ How::Event(_) => {
                self.how = event;
                return;
            }
        };
        // Why not has been said.
        (*self, _) = Self::of(self.id, pidfd);
    }

    fn open(&self) -> io::Result<PidFd> {
        let pidfd = PidFd::open(Pid::from_raw(self.id.pid))?;
        // It may be a stranger's by now: asked for behind the descriptor, it is either's.
        match is_gone(self.id)? {
            false => Ok(pidfd),
            true => Err(Errno::ESRCH.into()),
        }
    }
}

/// Whether nobody has its number any more, or somebody else has.
///
/// # Errors
/// Where that cannot be seen: this process has no descriptor to spare, for instance.
pub(in crate::command) fn is_gone(id: ProcessId) -> io::Result<bool> {
    match start_time(Pid::from_raw(id.pid)) {
        Ok(started) => Ok(started != id.started),
        // The second is one that is reaped while its file is read.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) if e.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(true),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> (Child, ProcessId) {
        let child = Command::new("/bin/sleep")
            .arg("1000")
            // One that outlives a test that fails keeps nobody waiting for the end of its output.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = start_time(Pid::from_raw(pid)).unwrap();
        (child, ProcessId { pid, started })
    }

    fn no_descriptor() -> io::Error {
        Errno::EMFILE.into()
    }

    #[tokio::test]
    async fn one_without_a_descriptor_is_looked_for_by_its_number() {
        let (mut child, id) = sleeper();
        let (watch, why) = Watch::of(id, Err(no_descriptor()));
        assert!(why.is_some());
        assert!(!watch.has_ended().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(watch.has_ended().unwrap());
    }

    #[tokio::test]
    async fn one_without_a_descriptor_gets_one_when_there_is_one() {
        let (mut child, id) = sleeper();
        let (mut watch, _) = Watch::of(id, Err(no_descriptor()));
        watch.try_again();
        assert!(matches!(watch.how, How::Event(_)), "{watch:?}");
        child.kill().unwrap();
        watch.ended().await;
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_stranger_with_its_number_is_not_it() {
        let (mut child, mut id) = sleeper();
        id.started += 1;
        let (mut watch, _) = Watch::of(id, Err(no_descriptor()));
        assert!(watch.has_ended().unwrap());
        watch.try_again();
        assert!(!matches!(watch.how, How::Event(_)), "{watch:?}");
        watch.ended().await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
