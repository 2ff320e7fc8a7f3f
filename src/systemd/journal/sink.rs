//! Writing records: to the journal, or to standard error.

use std::{
    io::{self, Write},
    sync::Arc,
};

use tracing::{
    Dispatch, Event, Level, Metadata, Span, dispatcher,
    field::{Value, ValueSet},
    level_filters::LevelFilter,
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;

use super::record::{Fields, Record, SpanRecord};

/// Where records end. Runs on a thread of its own and may take its time.
pub trait Sink {
    /// Writes one record. What cannot be written is lost: there is nowhere left to say so.
    fn write(&mut self, record: &Record);
}

/// The journal, by its native protocol.
pub struct Journal {
    /// Never the default of any thread but the writing one.
    dispatch: Dispatch,
}

/// Standard error, a line per record.
pub struct Stderr {
    look: Look,
}

/// How a line on standard error looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For a person: time, level, message.
    Terminal {
        /// With colour.
        colour: bool,
    },
    /// For a file or a pipe: time, level, message.
    Plain,
    /// For systemd: `<N>` and the message (sd-daemon(3)).
    Prefixed,
}

// === impl Journal ===

impl Journal {
    /// Finds the journal's socket.
    ///
    /// # Errors
    /// Where there is none, or nobody reads it. Where journald has stopped, this waits.
    pub fn open() -> io::Result<Self> {
        let layer = tracing_journald::layer()?
            // Else MESSAGE_ID would be F_MESSAGE_ID, which no catalogue knows.
            .with_field_prefix(None)
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            })
            .with_syslog_identifier("sleepingd".to_owned());
        Ok(Self::replay(layer))
    }

    /// Replays records to this layer.
    ///
    /// OFF keeps this second subscriber from widening what the process logs: tracing enables what
    /// any subscriber wants. Replayed events do not pass the filter, they are put in behind it.
    fn replay<L>(layer: L) -> Self
    where
        L: tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync,
    {
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(LevelFilter::OFF);
        Self {
            dispatch: Dispatch::new(subscriber),
        }
    }
}

impl Sink for Journal {
    fn write(&mut self, record: &Record) {
        // Spans are entered and left through the thread's default subscriber.
        dispatcher::with_default(&self.dispatch, || self.within(&record.spans, record));
    }
}

impl Journal {
    /// Builds the spans around the event again, from the outermost, and the event inside them.
    fn within(&self, spans: &[Arc<SpanRecord>], record: &Record) {
        match spans.split_first() {
            Some((outer, inner)) => values(outer.metadata, &outer.fields, None, |values| {
                Span::new_with(outer.metadata, values, &self.dispatch)
                    .in_scope(|| self.within(inner, record));
            }),
            None => {
                let headline = record.headline();
                values(record.metadata, &record.fields, Some(&headline), |values| {
                    self.dispatch.event(&Event::new(record.metadata, values));
                });
            }
        }
    }
}

/// The fields as tracing wants them: one slot for each field of the place in the code. `message`
/// takes the place of the recorded one.
fn values(
    metadata: &'static Metadata<'static>,
    fields: &Fields,
    message: Option<&str>,
    then: impl FnOnce(&ValueSet<'_>),
) {
    let text = |name| {
        message
            .filter(|_| name == "message")
            .or_else(|| fields.get(name))
    };
    let texts: Vec<Option<&str>> = metadata
        .fields()
        .iter()
        .map(|field| text(field.name()))
        .collect();
    let slots: Vec<Option<&dyn Value>> = texts
        .iter()
        .map(|text| text.as_ref().map(|text| text as &dyn Value))
        .collect();
    then(&metadata.fields().value_set_all(&slots));
}

// === impl Stderr ===

impl Stderr {
    /// Writes lines that look so.
    #[must_use]
    pub fn new(look: Look) -> Self {
        Self { look }
    }

    /// Writes one line.
    pub fn write_line(&mut self, level: Level, text: &str) {
        // Whole lines, each in one write, so that those of our children do not end up inside.
        // There is nowhere left to report a failure to.
        let _ = io::stderr().write_all(self.look.line(level, text, wall_clock).as_bytes());
    }
}

impl Sink for Stderr {
    fn write(&mut self, record: &Record) {
        self.write_line(record.level(), &sentence(record));
    }
}

/// What a person does not want to see behind a message: what the headline begins with, a number for
/// catalogues, and what the line about the end of a client says in its words.
const SAID_ALREADY: &[&str] = &[
    "sleepingd_service",
    "message_id",
    "sleepingd_destination",
    "sleepingd_end",
    "sleepingd_ended_by",
    "sleepingd_held_ms",
    "sleepingd_relayed_ms",
    "sleepingd_bytes_in",
    "sleepingd_bytes_out",
];

/// The message, and the fields a person wants to see: `web: woken (remote_addr=10.0.0.1)`.
fn sentence(record: &Record) -> String {
    let mut text = record.headline();
    let mut details = Vec::new();
    for (name, value) in record.context() {
        let is_said = name == "remote_addr" && text.contains(value);
        if !is_said && !SAID_ALREADY.contains(&name) {
            details.push(format!("{}={value}", name.trim_start_matches("sleepingd_")));
        }
    }
    if !details.is_empty() {
        text.push_str(&format!(" ({})", details.join(", ")));
    }
    text
}

// === impl Look ===

impl Look {
    /// The line with its newline. Control characters are made visible: what peers and commands
    /// say must neither forge a line nor steer a terminal.
    fn line(self, level: Level, text: &str, now: impl FnOnce() -> String) -> String {
        let mut line = match self {
            Self::Prefixed => format!("<{}>", severity(level)),
            Self::Plain | Self::Terminal { colour: false } => {
                format!("{} {}: ", now(), word(level))
            }
            Self::Terminal { colour: true } => {
                format!("{} {}{}\x1b[0m: ", now(), colour(level), word(level))
            }
        };
        for c in text.chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        line
    }
}

/// As syslog(3) counts.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        _ => "trace",
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

fn wall_clock() -> String {
    #[allow(clippy::disallowed_methods)] // A person compares it with the clock on the wall.
    let now = std::time::SystemTime::now();
    humantime::format_rfc3339_seconds(now).to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::{Mutex, mpsc},
        thread,
    };

    use tracing::field::{Field, Visit};
    use tracing_subscriber::{Registry, layer::Context};

    use super::{
        super::{queue::Queue, record::Recorder},
        *,
    };

    /// Stands in for the journal's layer: says of each event where it comes from and what it has,
    /// with what its spans have.
    struct Witness(Mutex<mpsc::Sender<String>>);

    struct Seen(String);

    impl Visit for Seen {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.push_str(&format!(" {}={value}", field.name()));
        }
    }

    impl tracing_subscriber::Layer<Registry> for Witness {
        fn on_new_span(
            &self,
            attributes: &tracing::span::Attributes<'_>,
            id: &tracing::Id,
            context: Context<'_, Registry>,
        ) {
            let mut seen = Seen(String::new());
            attributes.record(&mut seen);
            context.span(id).unwrap().extensions_mut().insert(seen);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, Registry>) {
            let metadata = event.metadata();
            let mut seen = Seen(format!("{} {}", metadata.line().unwrap(), metadata.level()));
            for span in context.lookup_current().unwrap().scope().from_root() {
                let name = span.name();
                seen.0.push_str(&format!(
                    " [{name}{}]",
                    span.extensions().get::<Seen>().unwrap().0
                ));
            }
            event.record(&mut seen);
            self.0.lock().unwrap().send(seen.0).unwrap();
        }
    }

    #[test]
    fn a_replayed_event_keeps_its_place_its_fields_and_its_spans() {
        let (sender, seen) = mpsc::channel();
        let queue = Queue::new(8);
        let writer = queue.clone();
        thread::spawn(move || writer.run(&mut Journal::replay(Witness(Mutex::new(sender)))));
        let subscriber = tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(Recorder::new(queue.clone()));
        let line = tracing::subscriber::with_default(subscriber, || {
            let _outer = tracing::info_span!("service", sleepingd_service = "web").entered();
            let _inner =
                tracing::info_span!("client", remote_addr = "10.0.0.1", port = 7).entered();
            tracing::debug!("not logged: the writer's own subscriber widens nothing");
            tracing::warn!(message_id = "5d1f", count = 3, "woken by {}", "me");
            line!() - 1
        });
        assert_eq!(
            seen.recv().unwrap(),
            format!(
                "{line} WARN [service sleepingd_service=web] [client remote_addr=10.0.0.1 port=7] \
                 message=web: woken by me message_id=5d1f count=3"
            )
        );
        assert!(seen.try_recv().is_err());
    }

    fn record(log: impl FnOnce()) -> Record {
        struct Keep(mpsc::Sender<Record>);
        impl Sink for Keep {
            fn write(&mut self, record: &Record) {
                self.0.send(record.clone()).unwrap();
            }
        }
        let (sender, kept) = mpsc::channel();
        let queue = Queue::new(8);
        let subscriber = tracing_subscriber::registry().with(Recorder::new(queue.clone()));
        tracing::subscriber::with_default(subscriber, log);
        thread::spawn(move || queue.run(&mut Keep(sender)));
        kept.recv().unwrap()
    }

    #[test]
    fn a_person_reads_the_service_first_and_nothing_that_is_for_programs() {
        let record = record(|| {
            tracing::info!(
                sleepingd_service = "web",
                message_id = "5d1f",
                sleepingd_action = "start",
                sleepingd_held_ms = 5,
                remote_addr = "10.0.0.1",
                "woken"
            );
        });
        assert_eq!(
            sentence(&record),
            "web: woken (action=start, remote_addr=10.0.0.1)"
        );
    }

    #[test]
    fn what_a_peer_says_forges_no_line() {
        let line = |look: Look, text: &str| look.line(Level::WARN, text, || "now".to_owned());
        assert_eq!(
            line(Look::Prefixed, "a\n<0>b\x1b[2J"),
            "<4>a\\n<0>b\\u{1b}[2J\n"
        );
        assert_eq!(line(Look::Plain, "é"), "now warning: é\n");
        assert_eq!(
            line(Look::Terminal { colour: false }, "x"),
            "now warning: x\n"
        );
        let coloured = line(Look::Terminal { colour: true }, "x");
        assert_eq!(coloured, "now \u{1b}[33mwarning\u{1b}[0m: x\n");
    }
}
