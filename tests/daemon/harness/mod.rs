//! The stage on which a daemon is put: a directory, addresses nobody else uses, commands that ask
//! the test what to do, and the certainty that nothing is left afterwards.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `mod` | the stage, and the commands that ask |
//! | `process` | the daemon and other programs, what they say and how they end |
//! | `log` | what a daemon says, on standard error or to the journal |
//! | `sockets` | backends and clients |
//! | `proxy` | PROXY headers |
//! | `faults` | system calls of the daemon that fail |
//! | `namespaces` | a network, a `/run`, or groups, for a test alone |
//! | `needs` | what is not there on every machine |
//! | `entry` | what the journal is sent |

mod entry;
mod faults;
mod log;
mod namespaces;
mod needs;
mod process;
pub mod proxy;
mod sockets;

use std::{
    cell::RefCell,
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

pub use faults::Faults;
pub use namespaces::{inside, with_own_groups, with_own_run, with_slow_users};
pub use needs::{has, is_root, may_open, skipped};
pub use process::{Daemon, Ended, run};
pub use sockets::{
    Backend, Server, connect, connect_from, fetch, in_state, is_reset, is_silent, is_turned_away,
    is_turned_away_from, knock_from, reset, rest, take, wildcard_port,
};

/// How long a promised event may take on a slow and busy machine. Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

const SLEEPINGD: &str = env!("CARGO_BIN_EXE_sleepingd");

/// Everything a daemon needs, and the other end of the commands that it runs.
pub struct Stage {
    directory: tempfile::TempDir,
    /// Of this stage alone, so that its free ports stay free.
    ip: IpAddr,
    given: RefCell<HashSet<u16>>,
    calls: mpsc::Receiver<Call>,
}

/// A command that the daemon runs, and that asks what to do. Dropped, it fails.
pub struct Call {
    /// SLEEPINGD_ACTION.
    pub action: String,
    /// REMOTE_ADDR:REMOTE_PORT, `:` where there is none.
    pub remote: String,
    /// The argument that `Stage::cue` was given.
    pub argument: String,
    stream: BufReader<TcpStream>,
}

// === impl Stage ===

impl Stage {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, stage) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, high, low, _] = (process << 8).to_be_bytes();
        // 127.0.*.* is for others. Stages of one process differ in the last byte; beyond as many
        // as that can tell apart, in a bit that a process far away has.
        let last = u8::try_from(stage % 254 + 1).unwrap();
        let beyond = u8::try_from(stage / 254).unwrap() << 7;
        let ip = Ipv4Addr::new(127, (high | 0x40) ^ beyond, low, last).into();
        let directory = tempfile::Builder::new()
            .prefix("sleepingd-")
            .tempdir()
            .unwrap();
        // Commands may run as somebody else.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let director = TcpListener::bind((ip, 0)).unwrap();
        let at = director.local_addr().unwrap();
        let cue = directory.path().join("cue");
        // What comes back is shell: what the command is to do.
        let text = format!(
            "#!/bin/bash\n\
             exec 3<>/dev/tcp/{}/{} || exit 97\n\
             echo \"$SLEEPINGD_ACTION $REMOTE_ADDR:$REMOTE_PORT $*\" >&3\n\
             IFS= read -r -u 3 orders || exit 98\n\
             eval \"$orders\"\n",
            at.ip(),
            at.port(),
        );
        fs::write(&cue, text).unwrap();
        fs::set_permissions(&cue, fs::Permissions::from_mode(0o755)).unwrap();
        let (to, calls) = mpsc::channel();
        thread::spawn(move || {
            for stream in director.incoming() {
                let Some(call) = Call::read(stream.unwrap()) else {
                    continue;
                };
                if to.send(call).is_err() {
                    return;
                }
            }
        });
        Self {
            directory,
            ip,
            given: RefCell::default(),
            calls,
        }
    }

    /// An address that nobody listens at, and nobody else will.
    ///
    /// The socket that finds it does not listen: a program that another thread starts in this
    /// moment has it too, until it is executed, and where one listens nobody else can.
    pub fn address(&self) -> SocketAddr {
        loop {
            let free = tcp_socket(self.ip);
            free.bind(&SocketAddr::from((self.ip, 0)).into()).unwrap();
            let addr = free.local_addr().unwrap().as_socket().unwrap();
            if self.given.borrow_mut().insert(addr.port()) {
                return addr;
            }
        }
    }

    /// The address as START prints it.
    pub fn pair(addr: SocketAddr) -> String {
        format!("{} {}", addr.ip(), addr.port())
    }

    /// A file in the stage's directory, which is removed at the end.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A command that asks this test what to do.
    pub fn cue(&self, argument: &str) -> String {
        format!("{} {argument}", self.path("cue").display())
    }

    /// The next command that is run, which must be this one.
    #[track_caller]
    pub fn called(&self, action: &str) -> Call {
        match self.calls.recv_timeout(PATIENCE) {
            Ok(call) if call.action == action => call,
            Ok(call) => panic!("{} is run, where {action} was to be", call.action),
            Err(_) => panic!("{action} is not run"),
        }
    }

    /// Nothing has been run that was not waited for.
    #[track_caller]
    pub fn nothing_called(&self) {
        if let Ok(call) = self.calls.try_recv() {
            panic!("{} is run", call.action);
        }
    }

    /// The daemon with this configuration, once it is ready.
    #[track_caller]
    pub fn daemon(&self, configuration: &str) -> Daemon {
        self.configure(configuration);
        self.daemon_again()
    }

    /// What the next daemon, or the next reload, reads.
    pub fn configure(&self, configuration: &str) {
        self.write("sleepingd.conf", configuration);
    }

    /// Another daemon with the same files and the same runtime directory.
    #[track_caller]
    pub fn daemon_again(&self) -> Daemon {
        self.daemon_by(self.command(SLEEPINGD))
    }

    /// The daemon as this command starts it: `strace ... sleepingd`.
    #[track_caller]
    pub fn daemon_by(&self, mut command: Command) -> Daemon {
        command.arg("--debug");
        self.daemon_quietly_by(command)
    }

    /// The same, without what only a test wants to read.
    #[track_caller]
    pub fn daemon_quietly_by(&self, mut command: Command) -> Daemon {
        let runtime = self.path("run");
        command
            .arg("-f")
            .arg(self.path("sleepingd.conf"))
            .arg("--runtime-directory")
            .arg(&runtime);
        Daemon::start(command, runtime, self.marker())
    }

    /// The daemon with this configuration as systemd would start it, with its log in the journal;
    /// for a test that has `/run` for itself. A line of it is an entry's fields, with tabs between.
    #[track_caller]
    pub fn daemon_with_journal(&self, configuration: &str) -> Daemon {
        self.configure(configuration);
        let runtime = self.path("run");
        let mut command = self.command(SLEEPINGD);
        command
            .arg("--debug")
            .arg("-f")
            .arg(self.path("sleepingd.conf"))
            .arg("--runtime-directory")
            .arg(&runtime);
        Daemon::start_with_journal(command, runtime, self.marker())
    }

    /// `sleepingd forward` with these arguments, once it is ready.
    #[track_caller]
    pub fn forward(&self, arguments: &[&str]) -> Daemon {
        // What a shell has in the background ignores SIGINT, and so would we.
        let mut command = self.command("env");
        command.args(["--default-signal", SLEEPINGD]);
        self.forward_by(command, arguments)
    }

    /// The same, as this command starts it.
    #[track_caller]
    pub fn forward_by(&self, mut command: Command, arguments: &[&str]) -> Daemon {
        command.arg("forward").args(arguments);
        Daemon::start(command, self.path("run"), self.marker())
    }

    /// A program that finds our marker, and nothing of the environment of this test.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{}", needs::PATH, self.marker()));
        command
    }

    /// `strace` with these options, before sleepingd; it lets the daemon be our child.
    pub fn strace(&self, options: &[&str]) -> Command {
        let mut command = self.command("strace");
        command
            .args(["-D", "-f", "-qq", "-o", "/dev/null"])
            .args(options)
            .arg(SLEEPINGD);
        command
    }

    /// sleepingd with these arguments, to its end.
    pub fn sleepingd(&self, arguments: &[&str]) -> Ended {
        process::run(self.command(SLEEPINGD).args(arguments))
    }

    /// The daemon with this configuration, which does not start.
    pub fn refused(&self, configuration: &str) -> Ended {
        self.configure(configuration);
        let (file, runtime) = (self.path("sleepingd.conf"), self.path("run"));
        self.sleepingd(&[
            "-f",
            file.to_str().unwrap(),
            "--runtime-directory",
            runtime.to_str().unwrap(),
        ])
    }

    /// It is in the PATH of the daemon, and so in that of everything that it starts.
    fn marker(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// The processes that the daemons of this stage have started, zombies aside.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        process::with_marker(&self.marker())
    }
}

// === impl Call ===

impl Call {
    fn read(stream: TcpStream) -> Option<Self> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        let mut words = line.trim_end().splitn(3, ' ').map(str::to_owned);
        Some(Self {
            action: words.next()?,
            remote: words.next()?,
            argument: words.next().unwrap_or_default(),
            stream,
        })
    }

    /// Lets it do this, in bash. What it leaves running keeps the connection to this test.
    pub fn does(mut self, orders: &str) -> Leftover {
        // It may have been killed meanwhile, which is for the test to notice.
        let _ = writeln!(self.stream.get_mut(), "{orders}");
        Leftover(self.stream)
    }

    /// Lets it succeed.
    pub fn succeeds(self) -> Leftover {
        self.does("exit 0")
    }

    /// Lets it fail.
    pub fn fails(self) -> Leftover {
        self.does("exit 1")
    }

    /// Lets it say where the backend is.
    pub fn says(self, addr: SocketAddr) -> Leftover {
        self.does(&format!("echo {}", Stage::pair(addr)))
    }

    /// Waits until it, and all that it has started, is gone, without having been told anything.
    #[track_caller]
    pub fn dies(self) {
        Leftover(self.stream).ends();
    }
}

/// A command that was told what to do.
pub struct Leftover(BufReader<TcpStream>);

impl Leftover {
    /// Waits until it, and all that it has started, is gone.
    #[track_caller]
    pub fn ends(mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            // It was killed with orders unread.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("the command, or what it started, does not end: {e}"),
        }
    }
}

// === what belongs to nobody ===

/// A socket as servers have it, with SO_REUSEADDR: the last one's connections may be in TIME_WAIT.
fn tcp_socket(ip: IpAddr) -> Socket {
    let domain = Domain::for_address((ip, 0).into());
    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

/// Waits for what nobody announces: looks, again and again.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_address_can_be_listened_at_at_once_while_other_tests_start_programs() {
    let stage = Stage::new();
    let listen = |addr: SocketAddr| {
        let socket = tcp_socket(addr.ip());
        socket.bind(&addr.into())?;
        socket.listen(1)
    };
    let (to, over) = mpsc::channel::<()>();
    let starter = thread::spawn(move || {
        // Until the test is over, or has failed.
        while over.try_recv() == Err(mpsc::TryRecvError::Empty) {
            Command::new("true").status().unwrap();
        }
    });
    let refused = (0..1000).filter(|_| listen(stage.address()).is_err());
    assert_eq!(refused.count(), 0);
    drop(to);
    starter.join().unwrap();
}
