//! The keys of the configuration, from the table that the parser reads them by.

use sleepingd::config::keys::{GROUPS, KeyInfo, Place, Repeat, Support};

use crate::roff;

/// Every key, in chapters.
pub fn all() -> String {
    let mut text = String::new();
    for group in GROUPS {
        text += &format!(".SS {}\n", group.title);
        for key in group.keys {
            text += &of(key);
        }
    }
    text
}

fn of(key: &KeyInfo) -> String {
    let takes = key.takes.trim_start_matches("a ").trim_start_matches("an ");
    let term = format!(
        "{}{}",
        roff::bold(&format!("{}=", key.name)),
        roff::italic(takes)
    );
    let mut paragraphs = vec![roff::paragraph(&sentence(key.meaning))];
    if let Support::NotYet(_) = key.support {
        paragraphs.push(roff::paragraph(
            "Not supported yet: it is refused, never ignored.",
        ));
    }
    paragraphs.extend(key.doc.split("\n\n").map(|doc| {
        let lines: Vec<&str> = doc.lines().map(str::trim).collect();
        roff::paragraph(&lines.join(" "))
    }));
    paragraphs.push(roff::paragraph(&small_print(key)));
    roff::tagged(&term, &paragraphs)
}

fn small_print(key: &KeyInfo) -> String {
    let place = match key.place {
        Place::Head => " It stands before the first section.",
        Place::Anywhere => "",
    };
    let repeat = match key.repeat {
        Repeat::List => " It may be repeated, and all count; a blank one empties the list so far.",
        Repeat::Last => "",
    };
    format!("Default: {}.{place}{repeat}", key.default)
}

/// Cells of a table are no sentences.
fn sentence(cell: &str) -> String {
    let mut letters = cell.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
