//! The backend: this program once more, started by START_CMD.
//!
//! It resets whatever it has open when it is killed: a client must be able to tell a reply that is
//! cut off from one that is short.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{self, ExitCode},
    sync::{Arc, Once},
    thread,
    time::Duration,
};

use sleepingd::sys::net::Socket;
use socket2::SockRef;

use crate::{
    harness::PATIENCE,
    talk::{Manner, Plan, Talk},
};

/// The first argument of the program as a backend.
pub const ROLE: &str = "--backend";

/// In the directory of records: a line for each start.
pub const STARTS: &str = "starts";
/// What a backend has seen that must not be.
pub const WRONG: &str = "wrong";
/// Which was started last.
pub const PID: &str = "pid";
/// Which was the last to serve its first client: the daemon knows of it.
pub const SERVING: &str = "serving";

/// `at`: an address or a path.
pub fn serve(at: &str, records: &Path) -> ExitCode {
    note(records, STARTS, &process::id().to_string());
    thread::sleep(Duration::from_millis(fastrand::u64(0..30)));
    let records: Arc<Path> = records.into();
    // Before it listens: from then on it may be stopped.
    write_pid(&records, PID);
    if at.starts_with('/') {
        // The last one's; whoever is killed leaves it behind.
        let _ = std::fs::remove_file(at);
        let listener = UnixListener::bind(at).unwrap();
        loop {
            let (stream, _) = listener.accept().unwrap();
            begin(End::Unix(stream), &records);
        }
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    let addr: std::net::SocketAddr = at.parse().unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(1024).unwrap();
    let listener = TcpListener::from(socket);
    loop {
        let (stream, _) = listener.accept().unwrap();
        begin(End::Tcp(stream), &records);
    }
}

fn write_pid(records: &Path, file: &str) {
    // In one step: it is read while it is written.
    let new = records.join("new");
    std::fs::write(&new, process::id().to_string()).unwrap();
    std::fs::rename(new, records.join(file)).unwrap();
}

fn note(records: &Path, file: &str, line: &str) {
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create(true)
        .open(records.join(file))
        .unwrap();
    // One write, for two backends may be there at once.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn begin(end: End, records: &Arc<Path>) {
    let records = Arc::clone(records);
    end.reset_when_killed(true);
    thread::spawn(move || {
        if let Err(what) = talk(&end, &records) {
            note(
                &records,
                WRONG,
                &format!("backend {}: {what}", process::id()),
            );
        }
    });
}

fn talk(end: &End, records: &Path) -> Result<(), String> {
    static FIRST: Once = Once::new();
    end.set_patience();
    let (mut from, mut to) = (end, end);
    let mut header = [0; Talk::LENGTH];
    let mut got = 0;
    while got < header.len() {
        match from.read(&mut header[got..]) {
            Ok(0) if got == 0 => return Ok(()),
            Ok(0) => return Err("the plan is cut off by a clean end".to_owned()),
            Ok(length) => got += length,
            Err(e) if e.kind() == ErrorKind::ConnectionReset && got == 0 => return Ok(()),
            Err(e) => return Err(format!("no plan: {e}")),
        }
    }
    let talk = Talk::decode(&header).ok_or("the plan is none")?;
    FIRST.call_once(|| write_pid(records, SERVING));
    let fails = |what: &str, why: &dyn std::fmt::Display| format!("{talk:?}: {what}: {why}");
    let (mut up, mut down) = (talk.up(), talk.down());
    let (mut reading, mut writing) = (Manner::new(talk.id + 11), Manner::new(talk.id + 12));
    let mut send = || {
        down.send(&mut to, talk.down, &mut writing)?;
        end.finish()
    };
    let heard = match talk.plan {
        Plan::Exchange => thread::scope(|threads| {
            let sending = threads.spawn(send);
            let heard = up.hear(&mut from, &mut reading);
            (heard, sending.join().unwrap())
        }),
        Plan::Ask => (up.hear(&mut from, &mut reading), send()),
        Plan::Serve => {
            let sent = send();
            (up.hear(&mut from, &mut reading), sent)
        }
        Plan::ClientResets => {
            return match up.hear(&mut from, &mut reading) {
                Ok(()) => Err(fails("its reset", &"came as a clean end")),
                Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(fails("upload", &e)),
                Err(_) if up.at() != talk.up => Err(fails("reset after bytes", &up.at())),
                Err(_) => Ok(()),
            };
        }
        Plan::BackendResets => {
            down.send(&mut to, talk.down, &mut writing)
                .map_err(|e| fails("download", &e))?;
            return end.reset_behind_all().map_err(|e| fails("reset", &e));
        }
    };
    match heard {
        (Err(e), _) => Err(fails("upload", &e)),
        (_, Err(e)) => Err(fails("download", &e)),
        (Ok(()), Ok(())) if up.at() != talk.up => Err(fails("a clean end after bytes", &up.at())),
        (Ok(()), Ok(())) => {
            end.reset_when_killed(false);
            Ok(())
        }
    }
}

/// Our end of a connection, at either side.
pub enum End {
    Tcp(TcpStream),
    Unix(UnixStream),
}

// === impl End ===

impl End {
    fn sock(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
        }
    }

    /// Nothing takes as long, but what hangs.
    pub fn set_patience(&self) {
        self.sock().set_read_timeout(Some(PATIENCE)).unwrap();
        self.sock().set_write_timeout(Some(PATIENCE)).unwrap();
        if let Self::Tcp(stream) = self {
            stream.set_nodelay(true).unwrap();
        }
    }

    fn reset_when_killed(&self, on: bool) {
        if let Self::Tcp(stream) = self {
            let linger = on.then_some(Duration::ZERO);
            SockRef::from(stream).set_linger(linger).unwrap();
        }
    }

    /// FIN.
    pub fn finish(&self) -> std::io::Result<()> {
        self.sock().shutdown(Shutdown::Write)
    }

    /// RST, when all that was sent has got as far as the next socket.
    pub fn reset_behind_all(&self) -> std::io::Result<()> {
        let fd: OwnedFd = match self {
            Self::Tcp(stream) => stream.as_fd().try_clone_to_owned()?,
            Self::Unix(stream) => stream.as_fd().try_clone_to_owned()?,
        };
        let socket = Socket::from_fd(fd)?;
        while socket.unacknowledged()? > 0 {
            // It may be dead, and then it stays as it is.
            if socket.glance()?.dead {
                return Err(ErrorKind::ConnectionReset.into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        socket.reset_on_close()
    }
}

impl Read for &End {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            End::Tcp(stream) => (&*stream).read(buffer),
            End::Unix(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &End {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            End::Tcp(stream) => (&*stream).write(bytes),
            End::Unix(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
