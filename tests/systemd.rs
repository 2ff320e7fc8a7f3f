//! What systemd gives and takes, with real processes around it.
//!
//! Descriptors and environment are taken before any thread exists, so each test starts this very
//! program again in a role ([`act`]), as systemd would, and looks at what it says.
#![allow(clippy::unwrap_used)] // The helpers are as much tests as the tests.

use std::{
    env,
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::MetadataExt,
            net::{UnixDatagram, UnixStream},
        },
    },
    path::Path,
    process::{Child, Command, ExitCode, Output, Stdio},
    time::Duration,
};

use entry::fields;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use sleepingd::systemd::{self, Notifier, sockets};
use tracing::Level;

#[path = "daemon/harness/entry.rs"]
mod entry;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "sockets_of_socket_activate_come_with_names_and_reach_no_child",
        sockets_reach_no_child,
    ),
    ("stored_pipes_are_taken_beside_sockets", stored_pipes),
    (
        "variables_for_another_process_take_nothing_and_are_gone",
        not_for_us,
    ),
    (
        "variables_that_contradict_themselves_are_errors",
        contradictions,
    ),
    (
        "with_threads_nothing_is_taken_from_the_environment",
        threads,
    ),
    ("the_notify_socket_is_used_and_hidden_from_children", notify),
    (
        "lines_on_stderr_have_a_prefix_only_under_systemd",
        stderr_lines,
    ),
    ("a_stderr_that_nobody_reads_stops_nobody", stalled_stderr),
    ("events_reach_the_journal_with_their_fields", journal_fields),
    (
        "without_a_journal_systemd_still_reads_stderr",
        journal_missing,
    ),
    ("a_journal_that_nobody_reads_stops_nobody", stalled_journal),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, role] = &arguments[..] {
        if flag == "--role" {
            return match act(role) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    println!("error: {error}");
                    ExitCode::FAILURE
                }
            };
        }
    }
    if arguments.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = arguments
        .iter()
        .filter(|a| !a.starts_with('-'))
        .collect::<Vec<_>>();
    let mut failed = false;
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            let passed = std::panic::catch_unwind(test).is_ok();
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
            failed |= !passed;
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

// === roles ===

fn act(role: &str) -> Result<(), Box<dyn Error>> {
    match role {
        "take" => take(),
        "take among threads" => {
            let (_keep, wait) = std::sync::mpsc::channel::<()>();
            std::thread::spawn(move || wait.recv());
            take()
        }
        "notify" => {
            let notifier = Notifier::take()?;
            notifier.ready()?;
            println!("watchdog {:?}", notifier.watchdog_interval());
            show_environment()
        }
        "log" => {
            let log = systemd::journal::init(Level::INFO)?;
            tracing::debug!("hidden");
            tracing::info!(sleepingd_service = "web", remote_addr = %"10.0.0.1", "woken");
            log.set_level(Level::DEBUG);
            tracing::debug!(message_id = "5d1f", "shown");
            Ok(())
        }
        "flood" => {
            let _log = systemd::journal::init(Level::INFO)?;
            (0..20_000).for_each(|n| tracing::info!("message {n}"));
            println!("done");
            Ok(())
        }
        "no journald" => log_to_stream("log"),
        "journald" => journald("log", true),
        "stopped journald" => journald("flood", false),
        other => Err(format!("no role {other}").into()),
    }
}

fn take() -> Result<(), Box<dyn Error>> {
    let inherited = sockets::take()?;
    let kinds = [
        ("socket", &inherited.sockets),
        ("pipe", &inherited.pipes),
        ("other", &inherited.others),
    ];
    for (kind, list) in kinds {
        for named in list {
            let flags = FdFlag::from_bits_retain(fcntl(named.fd.as_fd(), FcntlArg::F_GETFD)?);
            println!(
                "{kind} '{}' cloexec={}",
                named.name,
                flags.contains(FdFlag::FD_CLOEXEC)
            );
        }
    }
    show_environment()?;
    let script = "for n in 3 4 5; do [ ! -e /proc/self/fd/$n ] || echo \"child has $n\"; done";
    let child = Command::new("sh").args(["-c", script]).output()?;
    print!("{}", String::from_utf8(child.stdout)?);
    Ok(())
}

fn show_environment() -> Result<(), Box<dyn Error>> {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("LISTEN_") || name.starts_with("WATCHDOG_") || name == "NOTIFY_SOCKET" {
            println!("left over: {name}");
        }
    }
    Ok(())
}

/// Stands in for journald, in a mount namespace of its own, before a client in this role.
fn journald(client: &str, reads: bool) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all("/run/systemd/journal")?;
    let socket = UnixDatagram::bind("/run/systemd/journal/socket")?;
    log_to_stream(client)?;
    socket.set_nonblocking(true)?;
    let mut buffer = vec![0; 65536];
    while let (true, Ok(length)) = (reads, socket.recv(&mut buffer)) {
        if length > 0 {
            println!("entry {}", fields(&buffer[..length]).join(" "));
        }
    }
    Ok(())
}

/// Starts a client in this role whose standard error is the journal's stream: any file will do for
/// the socket that systemd would have made.
fn log_to_stream(client: &str) -> Result<(), Box<dyn Error>> {
    let stream = fs::File::create("/run/stream")?;
    let metadata = stream.metadata()?;
    let mut child = Command::new(env::current_exe()?)
        .args(["--role", client])
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .stderr(stream)
        .spawn()?;
    println!("client {}", child.wait()?);
    println!("stderr '{}'", fs::read_to_string("/run/stream")?);
    Ok(())
}

// === tests ===

/// This program in a role, by a shell that prepares it: `$$` stays its process number, and what
/// we were born with ourselves does not get in the way.
fn prepared(script: &str, role: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "exec 3<&- 4<&- 5<&-; {script} exec \"$0\" --role \"$1\""
        ))
        .arg(env::current_exe().unwrap())
        .arg(role)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap());
    command
}

fn said(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Kills a process that a failed test would leave behind.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sockets_reach_no_child() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("1"), directory.path().join("2"));
    let activate = Command::new("systemd-socket-activate")
        .arg("-l")
        .arg(&one)
        .arg("-l")
        .arg(&two)
        .arg("--fdname=web:Simple web server")
        .arg(env::current_exe().unwrap())
        .args(["--role", "take"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("systemd-socket-activate (package systemd)");
    let mut activate = Reaped(activate);
    // It says what it listens on, and starts the program when somebody connects.
    let mut log = BufReader::new(activate.0.stderr.take().unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        assert!(line.contains("Listening on"), "{line}");
    }
    let _client = UnixStream::connect(&two).unwrap();
    let mut text = String::new();
    activate
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(
        text,
        "socket 'web' cloexec=true\nsocket 'Simple web server' cloexec=true\n"
    );
}

fn stored_pipes() {
    let script = "exec 3<&0 4</dev/null 5<&0 </dev/null; \
                  LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=pipe.web:pipe.x:web LISTEN_PIDFDID=1";
    let output = prepared(script, "take")
        .stdin(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(
        said(&output),
        [
            "pipe 'pipe.web' cloexec=true",
            "other 'pipe.x' cloexec=true",
            "other 'web' cloexec=true"
        ]
    );
}

fn not_for_us() {
    // Descriptor 3 stays what it was: not ours to close, mark or count.
    for pid in ["LISTEN_PID=1", "", "LISTEN_PID=$$ LISTEN_FDS=0"] {
        let script = format!("exec 3</dev/null; LISTEN_FDS=1 LISTEN_FDNAMES=web {pid}");
        let output = prepared(&script, "take").output().unwrap();
        assert_eq!(said(&output), ["child has 3"], "{pid}");
    }
    assert_eq!(said(&prepared("", "take").output().unwrap()), [""; 0]);
}

fn contradictions() {
    let error = |script: &str| {
        let output = prepared(script, "take").output().unwrap();
        assert!(!output.status.success());
        said(&output).join("\n")
    };
    assert_eq!(
        error("exec 3</dev/null 4</dev/null; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web"),
        "error: LISTEN_FDNAMES has 1 names for the 2 descriptors of LISTEN_FDS"
    );
    assert_eq!(
        error("exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=2"),
        "error: descriptor 4 was announced by LISTEN_FDS, but cannot be taken: Bad file \
         descriptor (os error 9)"
    );
    assert_eq!(
        error("LISTEN_PID=$$ LISTEN_FDS=many"),
        "error: LISTEN_FDS=many is not a number; start the daemon by systemd, or unset it"
    );
    // A first number that is not 3 is no part of the protocol.
    let script = "exec 3</dev/null; LISTEN_FDS_FIRST_FD=7 LISTEN_PID=$$ LISTEN_FDS=1";
    let output = prepared(script, "take").output().unwrap();
    assert_eq!(said(&output), ["other 'unknown' cloexec=true"]);
}

fn threads() {
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1";
    let output = prepared(script, "take among threads").output().unwrap();
    assert_eq!(
        said(&output),
        ["error: 2 threads run already; the environment can be changed only before the first"]
    );
    // Nothing to take is nothing to refuse.
    let output = prepared("", "take among threads").output().unwrap();
    assert!(output.status.success());
}

fn notify() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let script = format!(
        "NOTIFY_SOCKET={} WATCHDOG_USEC=30000000 WATCHDOG_PID=$$",
        path.display()
    );
    let output = prepared(&script, "notify").output().unwrap();
    assert_eq!(said(&output), ["watchdog Some(15s)"]);
    let mut buffer = [0; 64];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");

    let script = script.replace("$$", "1");
    let output = prepared(&script, "notify").output().unwrap();
    assert_eq!(said(&output), ["watchdog None"], "somebody else's watchdog");
}

fn stderr_lines() {
    let lines = |script: &str| {
        let output = prepared(script, "log").output().unwrap();
        assert!(output.status.success(), "{:?}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = lines("");
    let mut plain = plain.lines().map(without_time);
    assert_eq!(
        plain.next(),
        Some("info: web: woken (remote_addr=10.0.0.1)")
    );
    assert_eq!(plain.next(), Some("debug: shown"));
    assert_eq!(plain.next(), None);
    assert_eq!(
        lines("SYSTEMD_EXEC_PID=$$ JOURNAL_STREAM=1:1"),
        "<6>web: woken (remote_addr=10.0.0.1)\n<7>shown\n"
    );
}

/// A line of the log without its time, `2026-01-31T12:00:00Z `, which must be there.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
    rest
}

fn stalled_stderr() {
    let mut command = prepared("", "flood");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Reaped(command.spawn().unwrap());
    // It comes to its end though nobody has read a byte of its log.
    let mut text = String::new();
    child
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "done\n");
    assert!(child.0.wait().unwrap().success());
    let log = BufReader::new(child.0.stderr.take().unwrap());
    for (n, line) in log.lines().take(100).enumerate() {
        let line = line.unwrap();
        assert_eq!(without_time(&line), format!("info: message {n}"));
    }
}

/// This program in a role, with a `/run` of its own. `None`, with a word about it, where that
/// takes rights which we do not have.
fn with_own_run(role: &str) -> Option<Vec<String>> {
    let script = "mount -t tmpfs none /run || exit 9; exec \"$0\" --role \"$1\"";
    let mut unshare = Command::new("unshare");
    unshare.args(if nix::unistd::geteuid().is_root() {
        &["-m"][..]
    } else {
        &["-rm"]
    });
    unshare
        .args(["sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .arg(role);
    let output = unshare.env_remove("SYSTEMD_EXEC_PID").output().unwrap();
    if output.status.code() == Some(9) || !Path::new("/run").is_dir() {
        let _ = writeln!(io::stdout(), "skipped: no mount namespace to be had");
        return None;
    }
    Some(said(&output))
}

fn journal_fields() {
    let Some(said) = with_own_run("journald") else {
        return;
    };
    assert_eq!(said[0], "client exit status: 0", "{said:?}");
    let has = |entry: &str, fields: &[&str]| {
        for field in fields {
            assert!(
                format!("{entry} ").contains(&format!(" {field} ")),
                "{field}: {entry}"
            );
        }
    };
    assert_eq!(said[1], "stderr ''", "nothing is said twice");
    has(
        &said[2],
        &[
            "MESSAGE=web: woken",
            "PRIORITY=6",
            "REMOTE_ADDR=10.0.0.1",
            "SLEEPINGD_SERVICE=web",
            "SYSLOG_IDENTIFIER=sleepingd",
            "CODE_FILE=tests/systemd.rs",
        ],
    );
    has(
        &said[3],
        &["MESSAGE=shown", "MESSAGE_ID=5d1f", "PRIORITY=7"],
    );
    assert_eq!(said.len(), 4, "{said:?}");
}

fn journal_missing() {
    let Some(said) = with_own_run("no journald") else {
        return;
    };
    let lines = [
        "client exit status: 0",
        "stderr '<4>the journal cannot be reached (No such file or directory (os error 2)); \
         fields are lost",
        "<6>web: woken (remote_addr=10.0.0.1)",
        "<7>shown",
        "'",
    ];
    assert_eq!(said, lines);
}

fn stalled_journal() {
    let begun = sleepingd::sys::clock::now();
    let Some(said) = with_own_run("stopped journald") else {
        return;
    };
    assert_eq!(said, ["done", "client exit status: 0", "stderr ''"]);
    // The flush gives up after a second; the rest is room for a slow machine.
    assert!(sleepingd::sys::clock::now().since(begun) < Duration::from_secs(20));
}
