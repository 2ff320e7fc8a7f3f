//! An event as plain data, so that another thread can write it.

use std::{fmt, sync::Arc};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::{Callsite, Identifier},
    field::{Field, FieldSet, Visit},
    metadata::Kind,
    span::{Attributes, Id},
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::queue::Queue;

/// A value may be this many bytes long; what a command or a peer said is among them.
const VALUE_LIMIT: usize = 8192;

/// One event, and the spans around it from the outermost.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where in the code it was logged, and at which level.
    pub metadata: &'static Metadata<'static>,
    /// What it says.
    pub fields: Fields,
    /// The spans it happened in.
    pub spans: Vec<Arc<SpanRecord>>,
}

/// A span.
#[derive(Debug, Clone)]
pub struct SpanRecord {
    /// Where in the code it begins.
    pub metadata: &'static Metadata<'static>,
    /// What it says.
    pub fields: Fields,
}

/// Fields with their values as text. Text is what the journal stores, whatever they were.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(Field, String)>);

/// The layer that copies events onto the queue.
#[derive(Debug)]
pub struct Recorder {
    queue: Queue,
}

/// The place in the code that says that messages are missing. Written by hand, because what the
/// macros log goes onto the queue, and this is about the queue.
struct DroppedSite;

static DROPPED_SITE: DroppedSite = DroppedSite;
static DROPPED: Metadata<'static> = Metadata::new(
    "messages dropped",
    module_path!(),
    Level::WARN,
    Some(file!()),
    Some(line!()),
    Some(module_path!()),
    FieldSet::new(&["message"], Identifier(&DROPPED_SITE)),
    Kind::EVENT,
);

impl Callsite for DroppedSite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &DROPPED
    }
}

// === impl Record ===

impl Record {
    /// Says that so many records are missing in this place.
    #[must_use]
    pub fn dropped(count: u64) -> Self {
        let mut fields = Fields::default();
        if let Some(message) = DROPPED.fields().field("message") {
            let text = format!("{count} messages were dropped here: the log was not read in time");
            fields.put(&message, text);
        }
        Self {
            metadata: &DROPPED,
            fields,
            spans: Vec::new(),
        }
    }

    /// Its level.
    #[must_use]
    pub fn level(&self) -> Level {
        *self.metadata.level()
    }

    /// The message proper.
    #[must_use]
    pub fn message(&self) -> &str {
        self.fields.get("message").unwrap_or_default()
    }

    /// The message, with the service it is about before it: what a reader of the journal sees of a
    /// record without asking for its fields.
    #[must_use]
    pub fn headline(&self) -> String {
        let mut context = self.context();
        match context.find(|(name, _)| *name == "sleepingd_service") {
            Some((_, service)) => format!("{service}: {}", self.message()),
            None => self.message().to_owned(),
        }
    }

    /// Every field but the message, those of the outermost span first.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let spans = self.spans.iter().flat_map(|span| span.fields.iter());
        spans
            .chain(self.fields.iter())
            .filter(|(name, _)| *name != "message")
    }
}

// === impl Fields ===

impl Fields {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    /// The fields in the order they were recorded.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .iter()
            .map(|(field, value)| (field.name(), value.as_str()))
    }

    fn put(&mut self, field: &Field, mut value: String) {
        if value.len() > VALUE_LIMIT {
            let mut end = VALUE_LIMIT;
            while !value.is_char_boundary(end) {
                end -= 1;
            }
            value.truncate(end);
            value.push('…');
        }
        match self.0.iter_mut().find(|(known, _)| known == field) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.clone(), value)),
        }
    }
}

/// Whatever else is recorded, numbers and errors, comes as `record_debug` by default.
impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Cut before it is copied: one more byte than fits is enough to see that it does not.
        let end = value.len().min(VALUE_LIMIT + 4);
        let end = (end..=value.len())
            .find(|i| value.is_char_boundary(*i))
            .unwrap_or(value.len());
        self.put(field, value[..end].to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

// === impl Recorder ===

impl Recorder {
    /// Copies onto this queue.
    #[must_use]
    pub fn new(queue: Queue) -> Self {
        Self { queue }
    }
}

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let record = SpanRecord {
            metadata: attributes.metadata(),
            fields,
        };
        span.extensions_mut().insert(Arc::new(record));
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(record) = extensions.get_mut::<Arc<SpanRecord>>() {
            values.record(&mut Arc::make_mut(record).fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .filter_map(|span| span.extensions().get::<Arc<SpanRecord>>().cloned())
            .collect();
        self.queue.push(Record {
            metadata: event.metadata(),
            fields,
            spans,
        });
    }
}
