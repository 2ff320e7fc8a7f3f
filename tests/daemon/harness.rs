//! The stage on which a daemon is put: a directory, addresses nobody else uses, commands that ask
//! the test what to do, and the certainty that nothing is left afterwards.

use std::{
    cell::RefCell,
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use socket2::{Domain, SockRef, Socket, Type};

/// How long a promised event may take on a slow and busy machine. Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

const SLEEPINGD: &str = env!("CARGO_BIN_EXE_sleepingd");
const SLEEPINGCTL: &str = env!("CARGO_BIN_EXE_sleepingctl");

/// What daemons and commands find first on their way.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// A running daemon. Dropped, it is killed, and all that it started.
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    /// Lines before this one have been waited for.
    seen: RefCell<usize>,
    runtime: PathBuf,
    marker: String,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    news: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

/// A listening socket of the test's.
pub struct Backend {
    pub addr: SocketAddr,
    listener: TcpListener,
}

/// A backend that answers by itself. Dropped, it refuses.
pub struct Server {
    pub addr: SocketAddr,
    /// How many it has accepted.
    pub accepted: Arc<AtomicU32>,
    listener: Arc<TcpListener>,
    thread: Option<thread::JoinHandle<()>>,
}

// === impl Stage ===

impl Stage {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, stage) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, high, low, _] = (process << 8).to_be_bytes();
        // 127.0.*.* is for others. Stages of one process differ in the last byte.
        let ip = Ipv4Addr::new(127, high | 0x40, low, u8::try_from(stage + 1).unwrap()).into();
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
    pub fn address(&self) -> SocketAddr {
        loop {
            let free = TcpListener::bind((self.ip, 0)).unwrap();
            let addr = free.local_addr().unwrap();
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

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
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
        let runtime = self.path("run");
        command
            .args(["--debug", "-f"])
            .arg(self.path("sleepingd.conf"))
            .arg("--runtime-directory")
            .arg(&runtime)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let daemon = Daemon {
            child,
            log,
            seen: RefCell::new(0),
            runtime,
            marker: self.marker(),
        };
        daemon.says("ready: ");
        daemon
    }

    /// A program that finds our marker, and nothing of the environment of this test.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{PATH}:{}", self.marker()));
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
        run(self.command(SLEEPINGD).args(arguments))
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
        processes(&self.marker())
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
    pub fn is_killed(self) {
        Leftover(self.stream).is_gone();
    }
}

/// A command that was told what to do.
pub struct Leftover(BufReader<TcpStream>);

impl Leftover {
    /// What it writes to its descriptor 3.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line on descriptor 3");
        line.trim_end().to_owned()
    }

    /// Waits until it, and all that it has started, is gone.
    #[track_caller]
    pub fn is_gone(mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            // It was killed with orders unread.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("the command, or what it started, does not end: {e}"),
        }
    }
}

// === impl Daemon ===

impl Daemon {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it says this, in a line after those that were waited for before.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        let mut seen = self.seen.borrow_mut();
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.state.lock().unwrap();
        loop {
            let new = state.lines.get(*seen..).unwrap_or_default();
            if let Some(at) = new.iter().position(|line| line.contains(text)) {
                let line = new[at].clone();
                *seen += at + 1;
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                drop(state);
                panic!("the daemon does not say '{text}'");
            }
            state = self.log.news.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How many lines with this text there are by now.
    pub fn said(&self, text: &str) -> usize {
        let state = self.log.state.lock().unwrap();
        state
            .lines
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Waits for its end; says its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.state.lock().unwrap();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("the daemon does not end");
            }
            state = self.log.news.wait_timeout(state, left).unwrap().0;
        }
        drop(state);
        self.child.wait().unwrap().code()
    }

    /// SIGTERM, to its end.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ends()
    }

    /// SIGHUP, until it has been heard.
    #[track_caller]
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
        self.says("reloaded: ");
    }

    /// `sleepingctl` with these arguments.
    pub fn ctl(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(SLEEPINGCTL);
        command
            .env_clear()
            .arg("--socket")
            .arg(self.runtime.join("control.sock"));
        run(command.args(arguments))
    }

    /// What `sleepingctl status --json` says of the service.
    pub fn status(&self, service: &str) -> serde_json::Value {
        let ended = self.ctl(&["status", "--json", service]);
        let status: serde_json::Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", ended.stdout, ended.stderr));
        status["services"][0].clone()
    }

    /// What it is doing: `awake`, `asleep`, ...
    pub fn state(&self, service: &str) -> String {
        self.status(service)["state"].as_str().unwrap().to_owned()
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// The processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let words: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // utime and stime, fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
        let ticks = words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.log.state.lock().unwrap();
            eprintln!("--- the daemon said:\n{}\n---", state.lines.join("\n"));
        }
        // It may have ended, and its group with it.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        // What one of them starts while the others are killed is found in the next round.
        for _ in 0..100 {
            let left = processes(&self.marker);
            if left.is_empty() {
                return;
            }
            for (pid, _) in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// Processes with this in their environment, zombies aside, with what they run.
fn processes(marker: &str) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // It may end meanwhile; a zombie's is empty.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
        {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push((Pid::from_raw(pid), command));
        }
    }
    found
}

// === impl Log ===

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.state.lock().unwrap().lines.push(line);
                writer.news.notify_all();
            }
            writer.state.lock().unwrap().ended = true;
            writer.news.notify_all();
        });
        log
    }
}

// === programs that end ===

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end; kills it after `PATIENCE`.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (to, ended) = mpsc::channel();
    thread::spawn(move || to.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = kill(pid, Signal::SIGKILL);
        panic!("{command:?} does not end");
    };
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
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

// === impl Backend ===

impl Backend {
    /// Listens there; the test accepts.
    #[track_caller]
    pub fn at(addr: SocketAddr) -> Self {
        let listener = listen(addr);
        // accept(2) obeys SO_RCVTIMEO.
        SockRef::from(&listener)
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        Self { addr, listener }
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = self
            .listener
            .accept()
            .expect("a connection from the daemon");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Nobody has connected by now.
    #[track_caller]
    pub fn nobody_came(&self) {
        self.listener.set_nonblocking(true).unwrap();
        let came = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        assert!(came.is_err(), "somebody connected: {came:?}");
    }
}

/// With SO_REUSEADDR, as servers have it: the last one's connections may be in TIME_WAIT.
#[track_caller]
fn listen(addr: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

// === impl Server ===

impl Server {
    /// Sends this to whoever connects, and closes.
    pub fn greeting(addr: SocketAddr, text: &'static str) -> Self {
        Self::with(addr, move |mut stream| {
            // The client may have gone.
            let _ = stream.write_all(text.as_bytes());
        })
    }

    /// Answers what it is sent, once that has ended, with the same in capitals.
    pub fn shouting(addr: SocketAddr) -> Self {
        Self::with(addr, |mut stream| {
            thread::spawn(move || {
                let mut said = String::new();
                if stream.read_to_string(&mut said).is_ok() {
                    let _ = stream.write_all(said.to_uppercase().as_bytes());
                }
            });
        })
    }

    /// Does this with each connection, one after the other.
    pub fn with(addr: SocketAddr, mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = Arc::new(listen(addr));
        let accepted = Arc::new(AtomicU32::new(0));
        let thread = thread::spawn({
            let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
            move || {
                // Until it is shut down.
                while let Ok((stream, _)) = listener.accept() {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    serve(stream);
                }
            }
        });
        Self {
            addr,
            accepted,
            listener,
            thread: Some(thread),
        }
    }

    pub fn count(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It listens no more; accept(2) fails.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port that is free on all addresses. Beyond those that the kernel gives to clients.
pub fn wildcard_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = std::process::id().wrapping_mul(7) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 61_000 + u16::try_from(turn % 4_000).unwrap();
        if TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

// === clients ===

#[track_caller]
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// From an address of its own.
#[track_caller]
pub fn connect_from(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect_timeout(&addr.into(), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// All that comes until the end.
#[track_caller]
pub fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// A client that connects, sends nothing, and reads what comes.
#[track_caller]
pub fn fetch(addr: SocketAddr) -> String {
    rest(&mut connect(addr))
}

/// So many bytes.
#[track_caller]
pub fn take(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("as many bytes");
    bytes
}

/// It is reset, having sent nothing more.
#[track_caller]
pub fn is_reset(mut stream: TcpStream) {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("not reset: {other:?}"),
    }
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Nothing has come by now.
#[track_caller]
pub fn is_silent(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let peeked = stream.peek(&mut byte);
    stream.set_nonblocking(false).unwrap();
    match peeked {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
        other => panic!("not silent: {other:?}"),
    }
}

/// Whether a program is there to be used; said, if not.
pub fn has(program: &str) -> bool {
    let found = PATH
        .split(':')
        .any(|directory| Path::new(directory).join(program).exists());
    if !found {
        eprintln!("SKIPPED: there is no {program}");
    }
    found
}
