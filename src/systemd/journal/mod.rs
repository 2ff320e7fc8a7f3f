//! The log: to the journal with its fields where systemd reads us, else to standard error.
//!
//! Nobody who logs ever waits for a reader: a stopped journald, or a full pipe behind standard
//! error, would stop every relay with it. Events are copied onto a queue with a limit, and one
//! thread writes them. When the queue is full, messages are dropped, counted, and the count is
//! logged in their place once there is room again.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`record`] | copies events, and the spans around them, into plain data |
//! | [`queue`] | carries them to the writing thread |
//! | [`sink`] | writes them: journal or standard error |
//! | [`message_id`] | the messages that are explained in the catalog |

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal},
    process, thread,
    time::Duration,
};

use nix::sys::stat::fstat;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

use self::{
    queue::Queue,
    record::Recorder,
    sink::{Journal, Look, Sink, Stderr},
};

pub mod message_id;
pub mod queue;
pub mod record;
pub mod sink;

/// Events that may wait to be written.
const QUEUE_LIMIT: usize = 4096;

/// How long the end of the process waits for them.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Keeps the log going. When dropped it waits until what was logged is written, for at most a
/// second; what is logged later may be lost. Belongs in `main`, dropped last.
#[must_use = "what is logged after this is dropped may be lost"]
pub struct LogGuard {
    queue: Queue,
    level: reload::Handle<LevelFilter, Registry>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No thread could be had for it.
    #[error("no thread for the log: {0}")]
    Thread(#[source] io::Error),
    /// There is a log already.
    #[error("the log was set up before")]
    Twice,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Journal,
    Stderr(Look),
}

/// What decides where the log goes.
#[derive(Debug, Default)]
struct Surroundings {
    journal_stream: Option<OsString>,
    invocation_id: Option<OsString>,
    systemd_exec_pid: Option<OsString>,
    no_color: Option<OsString>,
    /// Device and inode of standard error.
    stderr: Option<(u64, u64)>,
    terminal: bool,
}

/// Sets up the log for this process: everything at `level` and above, by `tracing`.
///
/// # Errors
/// Where no thread can be had, or at a second call.
pub fn init(level: Level) -> Result<LogGuard, LogError> {
    let place = Surroundings::find().place();
    let queue = Queue::new(QUEUE_LIMIT);
    let writer = queue.clone();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || match place.open() {
            Ok(mut sink) => writer.run(&mut *sink),
            Err(error) => fall_back(&writer, &error),
        })
        .map_err(LogError::Thread)?;
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    tracing_subscriber::registry()
        .with(filter)
        .with(Recorder::new(queue.clone()))
        .try_init()
        .map_err(|_| LogError::Twice)?;
    Ok(LogGuard {
        queue,
        level: handle,
    })
}

/// The journal cannot be reached (no socket: a chroot, perhaps); systemd still reads us.
fn fall_back(queue: &Queue, error: &io::Error) -> ! {
    let mut sink = Stderr::new(Look::Prefixed);
    sink.write_line(
        Level::WARN,
        &format!("the journal cannot be reached ({error}); fields are lost"),
    );
    queue.run(&mut sink)
}

// === impl LogGuard ===

impl LogGuard {
    /// From now on logs everything at `level` and above.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone; it is global, and nothing removes it.
        let _ = self.level.reload(LevelFilter::from_level(level));
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_LIMIT);
    }
}

// === impl Place ===

impl Place {
    /// Runs on the writing thread, because reaching for a stopped journald blocks already.
    fn open(self) -> io::Result<Box<dyn Sink>> {
        Ok(match self {
            Self::Journal => Box::new(Journal::open()?),
            Self::Stderr(look) => Box::new(Stderr::new(look)),
        })
    }
}

// === impl Surroundings ===

impl Surroundings {
    fn find() -> Self {
        let stderr = io::stderr();
        Self {
            journal_stream: env::var_os("JOURNAL_STREAM"),
            invocation_id: env::var_os("INVOCATION_ID"),
            systemd_exec_pid: env::var_os("SYSTEMD_EXEC_PID"),
            no_color: env::var_os("NO_COLOR"),
            stderr: fstat(&stderr).ok().map(|stat| (stat.st_dev, stat.st_ino)),
            terminal: stderr.is_terminal(),
        }
    }

    fn place(&self) -> Place {
        if self.stderr.is_some() && self.journal() == self.stderr {
            return Place::Journal;
        }
        if self.terminal {
            // https://no-color.org: any value but an empty one.
            let colour = self.no_color.as_ref().is_none_or(|value| value.is_empty());
            return Place::Stderr(Look::Terminal { colour });
        }
        let look = if self.under_systemd() {
            Look::Prefixed
        } else {
            Look::Plain
        };
        Place::Stderr(look)
    }

    /// `DEVICE:INODE` of the stream to the journal that systemd gave us (systemd.exec(5)).
    fn journal(&self) -> Option<(u64, u64)> {
        let (device, inode) = self.journal_stream.as_ref()?.to_str()?.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    }

    /// Whether systemd started this very process. INVOCATION_ID alone is inherited by every
    /// shell of a desktop session; SYSTEMD_EXEC_PID (since 248) names the process.
    fn under_systemd(&self) -> bool {
        match &self.systemd_exec_pid {
            Some(pid) => pid.to_str() == Some(&process::id().to_string()),
            None => self.invocation_id.is_some() || self.journal_stream.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(change: impl FnOnce(&mut Surroundings)) -> Place {
        let mut surroundings = Surroundings {
            stderr: Some((8, 77)),
            ..Surroundings::default()
        };
        change(&mut surroundings);
        surroundings.place()
    }

    #[test]
    fn the_journal_is_used_only_when_stderr_is_its_stream() {
        assert_eq!(
            under(|s| s.journal_stream = Some("8:77".into())),
            Place::Journal
        );
        for other in ["8:78", "9:77", "8", "8:x", ""] {
            let place = under(|s| s.journal_stream = Some(other.into()));
            assert_eq!(place, Place::Stderr(Look::Prefixed), "{other}");
        }
    }

    #[test]
    fn prefixes_are_for_the_process_that_systemd_started() {
        let me = process::id().to_string();
        assert_eq!(
            under(|s| s.systemd_exec_pid = Some(me.into())),
            Place::Stderr(Look::Prefixed)
        );
        assert_eq!(
            under(|s| s.invocation_id = Some("a".into())),
            Place::Stderr(Look::Prefixed)
        );
        let shell = under(|s| {
            s.invocation_id = Some("a".into());
            s.systemd_exec_pid = Some("1".into());
        });
        assert_eq!(shell, Place::Stderr(Look::Plain));
        assert_eq!(under(|_| ()), Place::Stderr(Look::Plain));
    }

    #[test]
    fn colour_is_for_terminals_without_no_color() {
        let terminal = |no_color: Option<&str>| {
            under(|s| {
                s.terminal = true;
                s.no_color = no_color.map(Into::into);
            })
        };
        assert_eq!(
            terminal(None),
            Place::Stderr(Look::Terminal { colour: true })
        );
        assert_eq!(
            terminal(Some("")),
            Place::Stderr(Look::Terminal { colour: true })
        );
        assert_eq!(
            terminal(Some("1")),
            Place::Stderr(Look::Terminal { colour: false })
        );
    }
}
