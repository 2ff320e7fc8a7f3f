//! The other side of the bench: what START_CMD runs, and the backend that it leaves behind. Both
//! are this very program, told by its first argument which.
//!
//! ```text
//!   start:    connects to the bench, says when it began, reads what to do,
//!             leaves a backend running (the connection is its stdin) and exits
//!   backend:  binds, pauses, listens, serves so many clients, reports its stamps,
//!             ends when its clients have
//! ```
//!
//! Whatever happens to the bench, nothing stays behind: a backend ends with that connection.

// Everything here happens in a process of its own, without a runtime that could be held up.
#![allow(clippy::disallowed_methods)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::{
    Result,
    common::clock::now,
    script::{MESSAGE, Part, Stamps},
};

/// The first argument of START_CMD; the second is the socket of the bench.
pub const START: &str = "play-start";
const BACKEND: &str = "play-backend";

/// Plays its part, if this process has one; `begun` is when it began.
pub fn play(begun: Duration) -> Option<Result<()>> {
    let mut arguments = env::args().skip(1);
    match arguments.next()?.as_str() {
        START => Some(start(begun, &arguments.next()?)),
        BACKEND => Some(backend(&arguments.next()?)),
        _ => None,
    }
}

fn start(begun: Duration, bench: &str) -> Result<()> {
    let mut stream = UnixStream::connect(bench)?;
    writeln!(stream, "{}", begun.as_nanos())?;
    let mut part = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut part)?;
    if part.is_empty() {
        // It only wanted to know when.
        return Ok(());
    }
    Command::new(env::current_exe()?)
        .args([BACKEND, part.trim_end()])
        .stdin(OwnedFd::from(stream))
        .stdout(Stdio::null())
        .spawn()?;
    Ok(())
}

fn backend(part: &str) -> Result<()> {
    let bench = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    end_with(bench.try_clone()?);
    let part: Part = part.parse()?;
    room_for(part.clients)?;
    let socket = Socket::new(Domain::for_address(part.at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&part.at.into())?;
    thread::sleep(part.pause);
    let before_listen = now();
    socket.listen(4096)?;
    let listening = now();
    serve(&part, &socket, bench, before_listen, listening)
}

/// One client after the other: each has sent its message before it was relayed.
fn serve(
    part: &Part,
    socket: &Socket,
    mut bench: UnixStream,
    before_listen: Duration,
    listening: Duration,
) -> Result<()> {
    let mut clients = Vec::new();
    let (mut accepted, mut first_byte) = (None, None);
    for _ in 0..part.clients {
        let (mut client, _) = socket.accept()?;
        accepted.get_or_insert_with(now);
        let mut message = [0; MESSAGE];
        client.read_exact(&mut message)?;
        first_byte.get_or_insert_with(now);
        client.write_all(&message)?;
        clients.push(client);
    }
    let stamps = Stamps {
        before_listen,
        listening,
        accepted: accepted.unwrap_or_default(),
        first_byte: first_byte.unwrap_or_default(),
        last_served: now(),
    };
    writeln!(bench, "{stamps}")?;
    for mut client in clients {
        // Until it closes, or is reset: both are an end.
        let _ = client.read(&mut [0; MESSAGE]);
    }
    Ok(())
}

/// Ends this process when the bench has gone.
fn end_with(mut bench: UnixStream) {
    thread::spawn(move || {
        // It says no more; so this is its end, or a failure.
        let _ = bench.read(&mut [0; 1]);
        #[allow(clippy::exit)]
        std::process::exit(0);
    });
}

fn room_for(clients: u32) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::from(clients) + 64;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    Ok(())
}

/// Where this program is, for START_CMD.
pub fn program() -> Result<String> {
    let path = fs::canonicalize(env::current_exe()?)?;
    Ok(path.to_str().ok_or("its path is not text")?.to_owned())
}
