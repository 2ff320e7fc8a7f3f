//! What commands print: read as it comes, for as long as anybody may write; logged line by line,
//! within limits.

use std::{collections::VecDeque, io, os::fd::OwnedFd, sync::Arc};

use nix::unistd::read;
use tokio::{net::unix::pipe, task::yield_now, time::sleep};

use super::{
    PipeKeeper,
    lines::{Line, LineSplitter, RateLimit},
    pipe_name::{Channel, PipeName},
};
use crate::{model::Action, sys::clock};

/// How many lines of standard error an outcome has.
const TAIL_LINES: usize = 10;
/// How much is read at once. It lies on the stack: nothing is held while nothing comes.
const CHUNK: usize = 16 * 1024;
/// How many chunks are read before others have their turn.
const CHUNKS_AT_ONCE: usize = 4;
/// How much is read from a pipe when its command has ended: more than it can hold, so that
/// everything the command wrote is there, and no more than that, so that a child that writes on
/// does not keep us.
const LAST_READ: usize = 2 * 1024 * 1024;

/// The read end of one pipe.
#[derive(Debug)]
pub(super) struct Stream {
    channel: Channel,
    name: String,
    pipe: pipe::Receiver,
    lines: LineSplitter,
}

/// The pipes of one command.
pub(super) struct Output {
    out: Option<Stream>,
    err: Option<Stream>,
    said: Said,
    keeper: Arc<dyn PipeKeeper>,
    /// There may be more at once: others have their turn first.
    busy: bool,
}

/// What was said, and what is made of it.
#[derive(Debug)]
struct Said {
    service: String,
    action: String,
    limit: RateLimit,
    first: FirstLine,
    tail: VecDeque<String>,
}

#[derive(Debug)]
enum FirstLine {
    Awaited,
    Is(String),
    /// It was said to a daemon before this one.
    Past,
}

enum Progress {
    More,
    NothingNow,
    End,
}

// === impl Stream ===

impl Stream {
    /// Reads from the pipe from now on. `fd` must not block. Needs a runtime.
    pub(super) fn new(channel: Channel, name: String, fd: OwnedFd) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(fd)?;
        Ok(Self {
            channel,
            name,
            pipe,
            lines: LineSplitter::default(),
        })
    }

    /// Takes one chunk, where the runtime knows that there is one.
    fn take_ready(&mut self, said: &mut Said) -> Progress {
        let mut chunk = [0; CHUNK];
        let result = self.pipe.try_read(&mut chunk);
        self.took(&chunk, result, said)
    }

    /// Takes one chunk, where there is one, whether or not the runtime knows already. It learns of
    /// bytes only when it waits, and those of a command that has just ended may be newer.
    fn take_now(&mut self, said: &mut Said) -> Progress {
        let mut chunk = [0; CHUNK];
        let result = read(&self.pipe, &mut chunk).map_err(io::Error::from);
        self.took(&chunk, result, said)
    }

    fn took(&mut self, chunk: &[u8], result: io::Result<usize>, said: &mut Said) -> Progress {
        match result {
            Ok(0) => Progress::End,
            Ok(length) => {
                let channel = self.channel;
                self.lines
                    .feed(&chunk[..length], |line| said.line(channel, &line));
                Progress::More
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Progress::NothingNow,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Progress::More,
            Err(e) => {
                tracing::warn!(
                    sleepingd_service = said.service,
                    sleepingd_action = said.action,
                    "what the command prints can no longer be read: {e}"
                );
                Progress::End
            }
        }
    }
}

// === impl Output ===

impl Output {
    /// The output of a command that is about to start; of one that prints where we do, there is
    /// nothing to read.
    pub(super) fn new(
        service: &str,
        action: Action,
        streams: Option<[Stream; 2]>,
        keeper: Arc<dyn PipeKeeper>,
    ) -> Self {
        // COMMAND is asked nothing: what it prints is no answer.
        let first = match action {
            Action::Command => FirstLine::Past,
            _ => FirstLine::Awaited,
        };
        let said = Said::new(service, action.as_str(), first);
        let (out, err) = streams.map_or((None, None), |[out, err]| (Some(out), Some(err)));
        Self {
            out,
            err,
            said,
            keeper,
            busy: false,
        }
    }

    /// One pipe of a command that an earlier daemon started.
    pub(super) fn adopted(name: &PipeName, stream: Stream, keeper: Arc<dyn PipeKeeper>) -> Self {
        let said = Said::new(&name.slug, &name.action, FirstLine::Past);
        let (out, err) = match name.channel {
            Channel::Out => (Some(stream), None),
            Channel::Err => (None, Some(stream)),
        };
        Self {
            out,
            err,
            said,
            keeper,
            busy: false,
        }
    }

    /// Nobody is to read any more, whoever writes.
    pub(super) fn release(&mut self) {
        for stream in [self.out.take(), self.err.take()].into_iter().flatten() {
            self.keeper.release(&stream.name);
        }
    }

    /// Whether anybody may still write.
    pub(super) fn is_open(&self) -> bool {
        self.out.is_some() || self.err.is_some()
    }

    /// The first line of standard output, once it is complete.
    pub(super) fn first_line(&self) -> Option<&str> {
        match &self.said.first {
            FirstLine::Is(line) => Some(line),
            FirstLine::Awaited | FirstLine::Past => None,
        }
    }

    /// The last lines of standard error so far.
    pub(super) fn tail(&self) -> Vec<String> {
        self.said.tail.iter().cloned().collect()
    }

    /// Waits until something was printed and takes it, or until there is something to log of
    /// suppressed lines. Never, once nobody may write. Dropped while it waits, it loses nothing.
    pub(super) async fn advance(&mut self) {
        if std::mem::take(&mut self.busy) {
            yield_now().await;
        }
        let due = self.said.limit.due_in(clock::now());
        let channel = tokio::select! {
            () = readable(self.out.as_ref()) => Channel::Out,
            () = readable(self.err.as_ref()) => Channel::Err,
            () = async {
                match due {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            } => return self.said.speak_of_suppressed(false),
        };
        self.busy = true;
        for _ in 0..CHUNKS_AT_ONCE {
            let Some(stream) = self.stream(channel) else {
                return;
            };
            match stream.0.take_ready(stream.1) {
                Progress::More => {}
                Progress::NothingNow => return,
                Progress::End => return self.close(channel),
            }
        }
    }

    /// Takes everything that is there now, and a last line that has no end: the command itself has
    /// ended. What it left running may print on; see [`Self::advance`].
    pub(super) fn take_rest(&mut self) {
        for channel in [Channel::Out, Channel::Err] {
            for _ in 0..LAST_READ / CHUNK {
                let Some(stream) = self.stream(channel) else {
                    break;
                };
                match stream.0.take_now(stream.1) {
                    Progress::More => {}
                    Progress::NothingNow => break,
                    Progress::End => self.close(channel),
                }
            }
            if let Some((stream, said)) = self.stream(channel) {
                stream.lines.finish(|line| said.line(channel, &line));
            }
        }
    }

    fn stream(&mut self, channel: Channel) -> Option<(&mut Stream, &mut Said)> {
        let stream = match channel {
            Channel::Out => self.out.as_mut(),
            Channel::Err => self.err.as_mut(),
        };
        stream.map(|stream| (stream, &mut self.said))
    }

    /// At the end of file. Not on drop: what is dropped because the daemon ends must stay kept.
    fn close(&mut self, channel: Channel) {
        let stream = match channel {
            Channel::Out => self.out.take(),
            Channel::Err => self.err.take(),
        };
        if let Some(mut stream) = stream {
            stream.lines.finish(|line| self.said.line(channel, &line));
            self.keeper.release(&stream.name);
        }
        if !self.is_open() {
            self.said.speak_of_suppressed(true);
        }
    }
}

async fn readable(stream: Option<&Stream>) {
    match stream {
        // An error means that the runtime ends; the read says what there is to say.
        Some(stream) => drop(stream.pipe.readable().await),
        None => std::future::pending().await,
    }
}

// === impl Said ===

impl Said {
    fn new(service: &str, action: &str, first: FirstLine) -> Self {
        Self {
            service: service.to_owned(),
            action: action.to_owned(),
            limit: RateLimit::default(),
            first,
            tail: VecDeque::new(),
        }
    }

    fn line(&mut self, channel: Channel, line: &Line<'_>) {
        if channel == Channel::Err {
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line.text.clone().into_owned());
        } else if matches!(self.first, FirstLine::Awaited) {
            // Not logged: it is an answer, and goes to the one who asked.
            self.first = FirstLine::Is(line.text.clone().into_owned());
            return;
        } else if !self.is_backend() && !tracing::enabled!(tracing::Level::DEBUG) {
            // What nobody wants to see must not use up what may be logged.
            return;
        }
        self.speak_of_suppressed(false);
        if self.limit.admit(clock::now()) {
            self.log(channel, line);
        }
    }

    /// Whose standard output is a log as well.
    fn is_backend(&self) -> bool {
        self.action == Action::Command.as_str()
    }

    fn log(&self, channel: Channel, line: &Line<'_>) {
        let more = if line.cut { "..." } else { "" };
        let (service, action, text) = (&self.service, &self.action, &line.text);
        match channel {
            Channel::Out if !self.is_backend() => tracing::debug!(
                sleepingd_service = service,
                sleepingd_action = action,
                "{text}{more}"
            ),
            Channel::Out | Channel::Err => tracing::info!(
                sleepingd_service = service,
                sleepingd_action = action,
                "{text}{more}"
            ),
        }
    }

    fn speak_of_suppressed(&mut self, last: bool) {
        let count = if last {
            self.limit.rest()
        } else {
            self.limit.suppressed(clock::now())
        };
        if let Some(count) = count {
            tracing::info!(
                sleepingd_service = self.service,
                sleepingd_action = self.action,
                "{count} lines suppressed: the command prints too much to log all of it"
            );
        }
    }
}
