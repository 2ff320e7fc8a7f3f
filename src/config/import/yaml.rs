//! YAML as lists, mappings and texts, each with its line. What it may cost is bounded before it is
//! spent: aliases share what they stand for, and how large all would be without them is counted.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// Lists within lists. ynetd's file has four.
const MAX_DEPTH: usize = 32;

/// Values and their bytes, aliases written out.
const MAX_WEIGHT: usize = 1 << 20;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) line: usize,
    /// What it is.
    pub(super) content: Content,
    weight: usize,
    depth: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Content {
    /// A text; whether it is one beyond doubt, having quotes or a tag that says so.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// Else it may be null, a number or a truth.
        certain: bool,
    },
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, in the order of the file.
    Map(Vec<Pair>),
}

/// A key and its value.
pub(super) type Pair = (Rc<Node>, Rc<Node>);

/// A file of one document, which alone is ynetd's.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What is in it; nothing in an empty file.
    pub(super) root: Option<Rc<Node>>,
    /// Where the next document begins.
    pub(super) next: Option<usize>,
}

/// Not YAML, or too much of it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

/// A list or a mapping that has not ended.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    parts: Vec<Rc<Node>>,
}

/// Puts events together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    document: Document,
}

/// Reads the first document of a file.
pub(super) fn read(text: &str) -> Result<Document, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    build(text).map_err(|fault| {
        // What is missing at the end is missed in the line after it.
        let line = fault.line.clamp(1, text.lines().count().max(1));
        Fault { line, ..fault }
    })
}

fn build(text: &str) -> Result<Document, Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault::of(&error))?;
        builder.take(event, span.start.line())?;
        if builder.document.next.is_some() {
            break;
        }
    }
    Ok(builder.document)
}

// === impl Fault ===

impl Fault {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }

    fn of(error: &ScanError) -> Self {
        let message = format!("this is not YAML: {}", error.info());
        Self::new(error.marker().line(), message)
    }
}

// === impl Node ===

impl Node {
    fn new(line: usize, content: Content) -> Result<Self, Fault> {
        let parts: Vec<&Rc<Self>> = match &content {
            Content::Scalar { .. } => Vec::new(),
            Content::List(items) => items.iter().collect(),
            Content::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).collect(),
        };
        let own = match &content {
            Content::Scalar { text, .. } => 1 + text.len(),
            Content::List(_) | Content::Map(_) => 1,
        };
        let weight = parts.iter().fold(own, |sum: usize, part| {
            // The sum of as many parts as fit into memory can be too large for a number.
            sum.saturating_add(part.weight)
        });
        let depth = 1 + parts.iter().map(|part| part.depth).max().unwrap_or(0);
        if weight > MAX_WEIGHT {
            let message =
                format!("this is more than {MAX_WEIGHT} bytes with its aliases filled in");
            return Err(Fault::new(line, message));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(line));
        }
        Ok(Self {
            line,
            content,
            weight,
            depth,
        })
    }

    /// Whether it is nothing at all.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar { text, certain } => {
                !certain && ["", "~", "null", "Null", "NULL"].contains(&text.as_str())
            }
            Content::List(_) | Content::Map(_) => false,
        }
    }

    /// What it is, in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.content {
            Content::Scalar { .. } => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

fn too_deep(line: usize) -> Fault {
    Fault::new(
        line,
        format!("values are nested more than {MAX_DEPTH} deep"),
    )
}

// === impl Builder ===

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.document.root.is_some() => {
                self.document.next = Some(line);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                // Its anchor is that of a list or mapping which it is itself a part of.
                let node = node.ok_or_else(|| Fault::new(line, "this alias contains itself"))?;
                self.add(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.filter(|tag| tag.is_yaml_core_schema());
                let tag = tag.as_ref().map(|tag| tag.suffix.as_str());
                if tag == Some("binary") {
                    return Err(Fault::new(
                        line,
                        "!!binary values are not understood; write a text",
                    ));
                }
                let certain = style != ScalarStyle::Plain || tag == Some("str");
                let text = text.into_owned();
                self.finish(line, anchor, Content::Scalar { text, certain })?;
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, false)?,
            Event::MappingStart(anchor, _) => self.begin(line, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
        }
        Ok(())
    }

    fn begin(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(too_deep(line));
        }
        self.open.push(Open {
            line,
            anchor,
            is_map,
            parts: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        // The parser ends only what it has begun.
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let content = if open.is_map {
            let mut parts = open.parts.into_iter();
            let pairs = std::iter::from_fn(|| parts.next().zip(parts.next()));
            Content::Map(pairs.collect())
        } else {
            Content::List(open.parts)
        };
        self.finish(open.line, open.anchor, content)
    }

    fn finish(&mut self, line: usize, anchor: usize, content: Content) -> Result<(), Fault> {
        let node = Rc::new(Node::new(line, content)?);
        // 0 is none. A name may be given again: the parser numbers them.
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node);
        Ok(())
    }

    fn add(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            Some(open) => open.parts.push(node),
            None => self.document.root = Some(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        // What was read instead would be printed with its aliases written out.
        let fault = read(text).err().unwrap();
        (fault.line, fault.message)
    }

    #[test]
    fn aliases_cost_nothing_until_they_would_cost_too_much() {
        let tenfold = |from: char, to: char| {
            let aliases = [format!("*{from}"), String::new()].concat();
            format!("- &{to} [{}]\n", [aliases.as_str(); 10].join(", "))
        };
        let mut text = "- &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in ('a'..'f').zip('b'..) {
            text += &tenfold(from, to);
        }
        let (line, message) = fault(&text);
        assert_eq!(line, 6, "{message}");
        assert!(message.contains("aliases filled in"), "{message}");
    }

    #[test]
    fn depth_is_bounded_with_and_without_aliases() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert!(fault(&deep(MAX_DEPTH + 1)).1.contains("nested"));
        let (_, message) = fault(&"[".repeat(500_000));
        // The parser has a bound of its own, and comes to it first.
        assert!(message.contains("limit exceeded"), "{message}");
        let text = format!(
            "- &a {}\n- {}*a{}",
            deep(20),
            "[".repeat(20),
            "]".repeat(20)
        );
        assert!(fault(&text).1.contains("nested"));
        assert!(fault("&a [*a]").1.contains("contains itself"));
    }

    #[test]
    fn a_value_knows_its_line_and_whether_it_is_null() {
        let document = read("# c\n\na: ~\nb:\n  - '~'\n").unwrap();
        let root = document.root.unwrap();
        let Content::Map(pairs) = &root.content else {
            panic!("{root:?}");
        };
        assert_eq!(pairs[0].1.line, 3);
        assert!(pairs[0].1.is_null());
        let Content::List(items) = &pairs[1].1.content else {
            panic!("{root:?}");
        };
        assert_eq!(items[0].line, 5);
        assert!(!items[0].is_null());
    }
}
