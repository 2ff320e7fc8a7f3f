//! ynetd's file: which services are in it, read as ynetd reads it.
//!
//! Keys that it does not know it passes over, and of a key that is there twice it takes the last;
//! both are warnings here. `<<` takes over the keys of another mapping.

use std::rc::Rc;

use super::{
    Findings, Place, Said,
    service::Service,
    yaml::{self, Content, Node, Pair},
};
use crate::config::lines::shorten;

/// The services of a file, as far as they can be read.
pub(super) fn services(text: &str, findings: &mut Findings<'_>) -> Vec<Service> {
    let document = match yaml::read(text) {
        Ok(document) => document,
        Err(fault) => {
            findings.error(Place::Line(fault.line), fault.message);
            return Vec::new();
        }
    };
    if let Some(line) = document.next {
        let message = "ynetd reads the first document of a file alone; this one is left out";
        findings.warning(Place::Line(line), message.to_owned());
    }
    let mut services = Vec::new();
    let Some(root) = document.root.filter(|root| !root.is_null()) else {
        return services;
    };
    for (key, value) in entries(&root, findings) {
        match text_of(&key) {
            Some("services") => {
                let list = list_of(&value, "services", findings);
                services.extend(list.iter().map(|node| service(node, findings)));
            }
            _ => pass_over(&key, findings),
        }
    }
    services
}

fn service(node: &Node, findings: &mut Findings<'_>) -> Service {
    let mut service = Service::new(Place::Line(node.line));
    if node.is_null() {
        return service;
    }
    for (key, value) in entries(node, findings) {
        match text_of(&key) {
            Some("proxy") => proxy(&mut service, &value, findings),
            Some("command") => service.command = command(&value, findings),
            Some("auto_start") => service.auto_start = truth(&value, "auto_start", findings),
            Some("stop_after") => service.stop_after = said(&value, "stop_after", findings),
            Some("stop_signal") => service.stop_signal = said(&value, "stop_signal", findings),
            Some("timeout") => service.timeout = said(&value, "timeout", findings),
            Some("wait_after_start") => {
                service.wait_after_start = said(&value, "wait_after_start", findings);
            }
            _ => pass_over(&key, findings),
        }
    }
    service
}

fn proxy(service: &mut Service, node: &Node, findings: &mut Findings<'_>) {
    if node.is_null() {
        return;
    }
    for (from, to) in entries(node, findings) {
        let from = said(&from, "proxy", findings);
        let to = said(&to, "proxy", findings);
        service.proxy.extend(from.zip(to));
    }
}

fn command(node: &Node, findings: &mut Findings<'_>) -> Option<(Vec<String>, Place)> {
    let place = Place::Key(node.line, "command");
    let words = list_of(node, "command", findings);
    let words = words
        .iter()
        .filter_map(|word| said(word, "command", findings));
    let words: Vec<String> = words.map(|word| word.text).collect();
    (!words.is_empty()).then_some((words, place))
}

/// As YAML 1.1 has them, which is what ynetd reads.
fn truth(node: &Node, key: &'static str, findings: &mut Findings<'_>) -> Option<(bool, Place)> {
    let place = Place::Key(node.line, key);
    if node.is_null() {
        return None;
    }
    let plain = match &node.content {
        Content::Scalar { text, certain } if !certain => text.as_str(),
        _ => "",
    };
    let any_case = |word: &str| {
        let first = word[..1].to_ascii_uppercase() + &word[1..];
        plain == word || plain == first || plain == word.to_ascii_uppercase()
    };
    if ["y", "yes", "true", "on"].into_iter().any(any_case) {
        return Some((true, place));
    }
    if ["n", "no", "false", "off"].into_iter().any(any_case) {
        return Some((false, place));
    }
    findings.error(place, "this is neither true nor false".to_owned());
    None
}

/// A text, whatever it looks like: ynetd takes numbers as they are written, and null for an empty
/// one.
fn said(node: &Node, key: &'static str, findings: &mut Findings<'_>) -> Option<Said> {
    let place = Place::Key(node.line, key);
    match &node.content {
        Content::Scalar { .. } if node.is_null() => Some(Said {
            text: String::new(),
            place,
        }),
        Content::Scalar { text, .. } => Some(Said {
            text: text.clone(),
            place,
        }),
        Content::List(_) | Content::Map(_) => {
            let message = format!("this is {}, and must be a single value", node.kind());
            findings.error(place, message);
            None
        }
    }
}

fn list_of<'a>(node: &'a Node, key: &'static str, findings: &mut Findings<'_>) -> &'a [Rc<Node>] {
    match &node.content {
        Content::List(items) => return items,
        _ if node.is_null() => {}
        Content::Scalar { .. } | Content::Map(_) => {
            let message = format!("this is {}, and must be a list", node.kind());
            findings.error(Place::Key(node.line, key), message);
        }
    }
    &[]
}

/// The pairs of a mapping, each key once, and those of mappings that it takes over.
fn entries(node: &Node, findings: &mut Findings<'_>) -> Vec<Pair> {
    let Content::Map(pairs) = &node.content else {
        let message = format!("this is {}, and must be a mapping", node.kind());
        findings.error(Place::Line(node.line), message);
        return Vec::new();
    };
    let mut own: Vec<Pair> = Vec::new();
    let mut others = Vec::new();
    // The last of a kind counts. Each key is looked for in a set: there may be very many.
    let mut seen = std::collections::HashSet::new();
    for (key, value) in pairs.iter().rev() {
        match text_of(key) {
            Some("<<") if is_plain(key) => others.push(value),
            Some(name) if seen.insert(name.to_owned()) => own.push((key.clone(), value.clone())),
            Some(name) => {
                let message = format!("'{}' is here twice; the last one counts", shorten(name));
                findings.warning(Place::Line(key.line), message);
            }
            None => own.push((key.clone(), value.clone())),
        }
    }
    own.reverse();
    for other in others.into_iter().rev() {
        for pair in taken_over(other, findings) {
            if text_of(&pair.0).is_none_or(|name| seen.insert(name.to_owned())) {
                own.push(pair);
            }
        }
    }
    own
}

/// What `<<` stands for: a mapping, or several, of which the first counts.
fn taken_over(node: &Node, findings: &mut Findings<'_>) -> Vec<Pair> {
    match &node.content {
        Content::List(items) => {
            let items = items.iter();
            items.flat_map(|item| entries(item, findings)).collect()
        }
        Content::Scalar { .. } | Content::Map(_) => entries(node, findings),
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Scalar { text, .. } => Some(text),
        Content::List(_) | Content::Map(_) => None,
    }
}

fn is_plain(node: &Node) -> bool {
    matches!(node.content, Content::Scalar { certain: false, .. })
}

fn pass_over(key: &Node, findings: &mut Findings<'_>) {
    let name = shorten(text_of(key).unwrap_or("..."));
    let message = format!("ynetd has no key '{name}', and passes over it; it is left out");
    findings.warning(Place::Line(key.line), message);
}
