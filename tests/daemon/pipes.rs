//! Pipes are few, large or not used at all; what gets none is copied, and the counters tell.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::chown,
    process::{Child, Command, Stdio},
    thread,
};

use crate::harness::{
    Backend, Daemon, PATIENCE, Server, Stage, connect, has, inside, is_root, may_open, until,
};

const NOBODY: u32 = 65534;
const SMALLEST: usize = 64 << 10;
const LENGTH: usize = 4_000_000;

fn bytes() -> Vec<u8> {
    (0..LENGTH).map(|n| (n % 251) as u8).collect()
}

/// One stream through the service, to its end: it arrives whole.
#[track_caller]
fn fetch_bulk(front: SocketAddr) {
    let mut got = Vec::new();
    connect(front).read_to_end(&mut got).unwrap();
    assert!(got == bytes(), "{} bytes, or other ones", got.len());
}

fn server(back: SocketAddr) -> Server {
    Server::with(back, |mut stream| stream.write_all(&bytes()).unwrap())
}

fn count(daemon: &Daemon, counter: &str) -> usize {
    usize::try_from(daemon.counters()[counter].as_u64().unwrap()).unwrap()
}

/// The daemon as `nobody`, whom the kernel gives 64 MiB of pipes.
fn unprivileged(stage: &Stage, configuration: &str) -> Daemon {
    stage.configure(configuration);
    std::fs::create_dir(stage.path("run")).unwrap();
    chown(stage.path("run"), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = stage.command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        env!("CARGO_BIN_EXE_sleepingd"),
    ]);
    stage.daemon_by(command)
}

/// Another process of `nobody`, which takes all the pipes that the kernel gives this user.
struct Eater(Child);

impl Eater {
    fn new() -> Self {
        let script = "import fcntl, os, sys\n\
            pipes = []\n\
            while True:\n\
            \x20   pipe = os.pipe()\n\
            \x20   pipes.append(pipe)\n\
            \x20   try: fcntl.fcntl(pipe[0], 1031, 1 << 20)\n\
            \x20   except PermissionError: break\n\
            print('full', flush=True)\n\
            sys.stdin.read()\n";
        let mut child = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .args(["/usr/bin/env", "-i", "PATH=/usr/bin:/bin:/usr/local/bin"])
            .args(["python3", "-S", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "full\n");
        Self(child)
    }
}

impl Drop for Eater {
    fn drop(&mut self) {
        // Its end is its standard input's.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn a_user_whose_pipes_are_used_up_by_another_process_is_copied_for_and_spliced_for_later() {
    if !is_root("to run as nobody") || !has("setpriv") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = server(back);
    let eater = Eater::new();
    let daemon = unprivileged(&stage, &format!("[web]\nPORT={front}\nTARGET={back}\n"));
    // What is to be had now are pipes of 8 KiB, which are worse than none.
    let mut fetched = 0;
    until("a pipe was asked for", || {
        fetch_bulk(front);
        fetched += LENGTH;
        count(&daemon, "pipes_refused") > 0
    });
    assert_eq!(count(&daemon, "bytes_spliced"), 0);
    assert_eq!(count(&daemon, "bytes_copied"), fetched);
    drop(eater);
    until("it is spliced", || {
        fetch_bulk(front);
        count(&daemon, "bytes_spliced") > 0
    });
    let pipes = count(&daemon, "pipes_open");
    assert!(pipes > 0, "it was spliced through something");
    let large = daemon.pipes().into_iter().filter(|size| *size >= SMALLEST);
    assert!(large.count() >= pipes);
}

/// So many streams that stall hold half of what this machine gives all of TCP, with small buffers
/// too; 1500 where there is room for them.
fn as_many_as_may_stall() -> usize {
    const KIB_EACH: usize = 760;
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = memory.split_ascii_whitespace().nth(1).unwrap();
    // As the kernel reckons tcp_mem, tcp(7), which cannot be read in a network of one's own.
    let of_tcp = total.parse::<usize>().unwrap() * 3 / 32;
    (of_tcp / 2 / KIB_EACH).min(1500)
}

/// As many stalled streams as would take 375 MiB of pipes: each holds one, or copies. In a
/// network of its own, whose sockets have small buffers: stalled streams with large ones would run
/// the machine's TCP out of memory, which then drops packets of everybody.
#[test]
fn fifteen_hundred_bulk_streams_stay_within_the_pipes_that_an_unprivileged_user_has() {
    const EACH: usize = 3 << 19;
    const BUFFERS: &str = "
        echo 4096 262144 262144 > /proc/sys/net/ipv4/tcp_wmem
        echo 4096 524288 524288 > /proc/sys/net/ipv4/tcp_rmem";
    if !is_root("to run as nobody") || !has("setpriv") || !may_open(8_000) {
        return;
    }
    let test =
        "pipes::fifteen_hundred_bulk_streams_stay_within_the_pipes_that_an_unprivileged_user_has";
    if !inside(test, BUFFERS) {
        return;
    }
    let many = as_many_as_may_stall();
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = unprivileged(
        &stage,
        &format!("[web]\nPORT={front}\nTARGET={back}\nMAX_CONNECTIONS={many}\n"),
    );
    let chunk: Vec<u8> = (0..EACH).map(|n| (n % 251) as u8).collect();
    let mut streams: Vec<(TcpStream, TcpStream, usize)> = (0..many)
        .map(|_| (connect(front), backend.accept(), 0))
        .collect();
    // Nobody reads yet: everything on the way is filled, and pipes are held.
    for (client, ..) in &streams {
        client.set_nonblocking(true).unwrap();
    }
    let mut most = 0;
    for _ in 0..3 {
        for (client, _, sent) in &mut streams {
            *sent += client.write(&chunk[*sent..]).unwrap_or(0);
        }
        most = most.max(count(&daemon, "pipes_open"));
    }
    let small = daemon
        .pipes()
        .into_iter()
        .filter(|size| *size < SMALLEST)
        .count();
    assert!((100..=192).contains(&most), "{most} pipes");
    // The daemon's own, of commands and of the runtime, are not spliced through.
    assert!(small <= 4, "{small} small pipes");
    assert!(
        count(&daemon, "pipes_refused") > 0,
        "there was no want of pipes"
    );

    // And now all of it arrives, whole.
    let workers = 8;
    thread::scope(|threads| {
        for part in streams.chunks_mut(many.div_ceil(workers)) {
            let chunk = &chunk;
            threads.spawn(move || {
                for (client, server, sent) in part {
                    client.set_nonblocking(false).unwrap();
                    client.set_write_timeout(Some(PATIENCE)).unwrap();
                    let writer = client.try_clone().unwrap();
                    let from = *sent;
                    thread::scope(|threads| {
                        threads.spawn(move || {
                            (&writer).write_all(&chunk[from..]).unwrap();
                            writer.shutdown(std::net::Shutdown::Write).unwrap();
                        });
                        let mut got = Vec::with_capacity(EACH);
                        server.read_to_end(&mut got).unwrap();
                        assert!(got == *chunk, "{} bytes, or other ones", got.len());
                    });
                }
            });
        }
    });
    drop(streams);
    until("all have finished", || {
        daemon.counters()["outcomes"]["finished"] == many
    });
    assert!(count(&daemon, "bytes_spliced") > 0);
    assert!(count(&daemon, "bytes_copied") > 0);
    let spares = 16 * (1 + daemon.relay_threads());
    let open = count(&daemon, "pipes_open");
    assert!(open <= spares, "{open} spares");
}

#[test]
fn where_splicing_is_refused_it_is_copied_and_said_by_the_counters() {
    if !has("strace") {
        return;
    }
    // The first is out of a socket; one of the next into one, out of a pipe with bytes in it.
    for fault in ["EPERM", "EINVAL:when=2", "ENOMEM:when=3"] {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let _server = server(back);
        stage.configure(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
        let inject = format!("inject=splice:error={fault}");
        let daemon = stage.daemon_by(stage.strace(&["-e", "trace=splice", "-e", &inject]));
        // A stream that comes slowly, from a busy machine, is not spliced at all.
        let mut fetched = 0;
        until("one was to be spliced", || {
            fetch_bulk(front);
            fetched += LENGTH;
            count(&daemon, "splice_refused") > 0
        });
        let (copied, spliced) = (
            count(&daemon, "bytes_copied"),
            count(&daemon, "bytes_spliced"),
        );
        assert_eq!(copied + spliced, fetched, "{fault}");
        assert!(copied > 0, "{fault}");
        assert!(spliced == 0 || fault.contains("when"), "{fault}: {spliced}");
    }
}

#[test]
fn a_relay_does_without_pipes_where_there_are_none() {
    if !has("strace") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = server(back);
    stage.configure(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let daemon = stage.daemon_by(stage.strace(&[
        "-e",
        "trace=pipe2",
        "-e",
        "inject=pipe2:error=EMFILE:when=1+",
    ]));
    let mut fetched = 0;
    until("a pipe was asked for", || {
        fetch_bulk(front);
        fetched += LENGTH;
        count(&daemon, "pipes_refused") > 0
    });
    assert_eq!(count(&daemon, "bytes_copied"), fetched);
}
