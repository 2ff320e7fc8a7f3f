//! What holds for every text that is given for a configuration.

use std::collections::HashSet;

use super::{Loaded, SourceFile, addresses, explain, lines::Value, parse};
use crate::model::{Cidr, CidrList, Definition, Destination, Scope};

/// A service that no other file can break.
const SOUND: &str = "[sound]\nPORT=/run/sound\nSTART_CMD=/bin/start\n";

pub(crate) fn all(bytes: &[u8]) {
    // As it is read: see files.rs.
    let text = String::from_utf8_lossy(bytes).into_owned();
    let loaded = load(&text);
    check(&loaded, text.split('\n').count());
    for definition in &loaded.definitions {
        reads_back(definition);
    }
    if !text.contains('\r') {
        // One mark is taken off a file: a second one is part of the first line.
        let unmarked = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let windows = load(&format!("\u{feff}{}", unmarked.replace('\n', "\r\n")));
        assert_eq!(
            windows.definitions, loaded.definitions,
            "another end of line"
        );
        assert_eq!(
            windows.diagnostics, loaded.diagnostics,
            "another end of line"
        );
    }
}

fn load(text: &str) -> Loaded {
    let file = |path: &str, text: &str| SourceFile {
        path: path.into(),
        text: text.to_owned(),
    };
    parse(
        &[file("a.conf", SOUND), file("b.conf", text)],
        &["web".to_owned()],
        Scope::System,
    )
}

fn check(loaded: &Loaded, lines: usize) {
    let sound = loaded.definitions.first().map(|first| first.name.as_str());
    assert_eq!(sound, Some("sound"), "it took a sound service with it");
    let broken = !loaded.broken.is_empty();
    assert!(
        !broken || loaded.errors().count() > 0,
        "left out without a word"
    );
    for diagnostic in &loaded.diagnostics {
        assert!(
            !diagnostic.to_string().contains(char::is_control),
            "{diagnostic:?}"
        );
        assert!(!diagnostic.message.is_empty());
        let Some(origin) = &diagnostic.origin else {
            continue;
        };
        assert_eq!(origin.file.to_str(), Some("b.conf"), "{diagnostic:?}");
        assert!(
            (1..=lines).contains(&origin.line),
            "{diagnostic:?} of {lines} lines"
        );
    }
    let (mut slugs, mut ports) = (HashSet::new(), HashSet::new());
    for definition in &loaded.definitions {
        assert!(slugs.insert(&definition.slug), "one slug for two");
        for address in &definition.listen {
            assert!(ports.insert(address), "one address for two");
        }
        assert!(explain(definition).lines().count() > 1);
    }
}

/// What is shown of a service can be written in a file again.
fn reads_back(definition: &Definition) {
    for target in &definition.targets {
        assert_eq!(
            target.to_string().parse::<Destination>().as_ref(),
            Ok(target)
        );
    }
    for address in &definition.listen {
        let again = addresses::listeners(&Value::plain(&address.to_string()));
        assert_eq!(again.as_deref(), Ok(std::slice::from_ref(address)));
    }
    let access = &definition.policy.access;
    for list in [&access.allow, &access.deny, &access.ignore] {
        let words: Result<Vec<Cidr>, String> =
            addresses::networks(&Value::plain(&list.to_string()));
        assert_eq!(words.map(CidrList::new).as_ref(), Ok(list));
    }
}
