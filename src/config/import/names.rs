//! Names for sections: that of the program, else the port; and no two alike.

use std::collections::HashMap;

use super::wanted::Wanted;
use crate::model::ServiceName;

/// Enough to know a program by.
const MAX_NAME: usize = 64;

/// Names that have been given, as files and units have them.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Each, with the number that was last put behind it.
    given: HashMap<String, usize>,
}

impl Names {
    /// A name for this service that no other has.
    pub(super) fn give(&mut self, wanted: &Wanted) -> String {
        let program = wanted.command.as_ref().and_then(|one| plain(&one.program));
        let name = program.unwrap_or_else(|| port(wanted));
        let mut number = *self.given.get(&slug(&name)).unwrap_or(&0);
        loop {
            number += 1;
            let numbered = match number {
                1 => name.clone(),
                number => format!("{name}-{number}"),
            };
            // What is numbered may be the name of a program, too.
            if !self.given.contains_key(&slug(&numbered)) {
                self.given.insert(slug(&name), number);
                self.given.entry(slug(&numbered)).or_insert(1);
                return numbered;
            }
        }
    }
}

fn slug(name: &str) -> String {
    let slug = ServiceName::new(name).slug();
    slug.map_or_else(String::new, |slug| slug.as_str().to_owned())
}

/// The last part of a program's path, if there is enough in it for a name.
fn plain(program: &str) -> Option<String> {
    let last = program.rsplit('/').next()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let name: String = last
        .chars()
        .take(MAX_NAME)
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    (!slug(&name).is_empty()).then_some(name)
}

fn port(wanted: &Wanted) -> String {
    let first = wanted.pairs.first();
    let port = first.and_then(|(from, _)| from.rsplit(':').next());
    format!("port-{}", port.unwrap_or_default())
}
