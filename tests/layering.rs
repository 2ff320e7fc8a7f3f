//! Who may import whom, as `src/lib.rs` says it: the rule is read off the sources, so that a
//! convenient `use` cannot undo the design unnoticed.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, not what they call"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may import whom, itself aside.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("service", &["model"]),
    ("proxy_protocol", &["model"]),
    ("config", &["service", "model"]),
    ("sys", &["model"]),
    ("command", &["model", "sys"]),
    ("container", &["model"]),
    ("readiness", &["model", "sys"]),
    ("relay", &["model", "sys", "choices"]),
    ("discovery", &["model", "sys"]),
    ("control", &["model", "sys"]),
    ("systemd", &["model", "sys"]),
    ("cli", &[]),
    (
        "daemon",
        &[
            "model",
            "service",
            "proxy_protocol",
            "config",
            "sys",
            "command",
            "readiness",
            "relay",
            "discovery",
            "control",
            "systemd",
        ],
    ),
    // For tests alone.
    ("choices", &[]),
    (
        "fuzzing",
        &[
            "model",
            "service",
            "config",
            "sys",
            "command",
            "readiness",
            "proxy_protocol",
            "relay",
            "systemd",
        ],
    ),
];

/// What the heart must not know: it is told the time, and asks for everything else.
const NOT_IN_SERVICE: &[&str] = &[
    "tokio",
    "nix",
    "libc",
    "socket2",
    "hyper",
    "tracing",
    "std::process",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Its own code, without comments, strings and `#[cfg(test)]` modules, and the paths that it
/// names in full: `crate::sys::fd`, `std::net::IpAddr`.
struct Source {
    path: PathBuf,
    code: String,
    names: BTreeSet<String>,
}

#[test]
fn no_module_imports_what_it_may_not() {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for (module, sources) in modules() {
        let Some(allowed) = rules.get(module.as_str()) else {
            panic!("src/{module} is not in the table of layers");
        };
        for source in sources {
            for other in source.names.iter().filter_map(|name| of_ours(name)) {
                if other != module && !allowed.contains(&other) {
                    broken.push(format!("{} uses {other}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_layer_is_a_module_and_the_map_names_it() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = modules();
    for (layer, _) in MAY_USE {
        assert!(modules.contains_key(*layer), "src/{layer} is no more");
        assert!(
            map.contains(&format!("| [`{layer}`] |")) || map.contains(&format!("| `{layer}` |")),
            "src/lib.rs does not explain {layer}"
        );
    }
}

#[test]
fn the_service_knows_no_clock_no_runtime_and_no_process() {
    let mut broken = Vec::new();
    for source in &modules()["service"] {
        for name in &source.names {
            let forbidden = |prefix: &&&str| {
                name == **prefix
                    || name.starts_with(&format!("{prefix}::"))
                    || (prefix.contains("net::") && name.starts_with(**prefix))
            };
            if let Some(prefix) = NOT_IN_SERVICE.iter().find(forbidden) {
                broken.push(format!("{} uses {name} ({prefix})", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn command_lines_are_types_and_texts_alone() {
    for source in &modules()["cli"] {
        for name in &source.names {
            let fine = name.starts_with("clap::")
                || name.starts_with("ValueHint::")
                || name == "std::path::PathBuf";
            assert!(fine, "{} uses {name}", source.path.display());
        }
        let acts = source.code.split_whitespace().any(|word| word == "fn");
        assert!(!acts, "{} does something", source.path.display());
    }
}

#[test]
fn unsafe_is_in_sys_alone() {
    for (module, sources) in modules() {
        for source in sources.iter().filter(|_| module != "sys") {
            let words = source
                .code
                .split(|c: char| !c.is_alphanumeric() && c != '_');
            let says = words
                .clone()
                .any(|word| word == "unsafe" || word == "unsafe_code");
            assert!(!says, "{} is unsafe", source.path.display());
        }
    }
}

#[test]
fn programs_hold_no_logic_of_the_siblings() {
    for source in sources(&root().join("src/bin")) {
        for name in &source.names {
            let Some(module) = name.strip_prefix("sleepingd::").and_then(first) else {
                continue;
            };
            // Parse, call the library, map errors to exit codes.
            let fine = [
                "cli",
                "daemon",
                "config",
                "container",
                "control",
                "systemd",
                "sys",
            ];
            let fine = fine.contains(&module);
            assert!(fine, "{} uses {name}", source.path.display());
        }
    }
}

/// The guard can fail: it reads imports of every form.
#[test]
fn imports_are_read_in_every_form() {
    let names = names(&code(
        "//! uses crate::daemon\n\
         use crate::{model::{A, b::C}, sys};\n\
         use super::super::relay as r;\n\
         /* crate::config */ fn f() { crate::control::api::x(\"crate::systemd\"); }\n\
         pub(in crate::discovery) fn g(c: char) -> bool { c == '\"' }\n\
         #[cfg(test)]\nmod tests { use crate::command; }\n",
    ));
    let expected = [
        "crate::control::api::x",
        "crate::discovery",
        "crate::model::A",
        "crate::model::b::C",
        "crate::sys",
        "super::super::relay",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

// === reading sources ===

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of each module of the library, `src/lib.rs` and the programs aside.
fn modules() -> BTreeMap<String, Vec<Source>> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name != "lib" && name != "bin" {
            modules.insert(name, sources(&path));
        }
    }
    modules
}

/// A file, or all those in a directory. Files that are test modules by name are left out.
fn sources(path: &Path) -> Vec<Source> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries
            .flat_map(|entry| sources(&entry.unwrap().path()))
            .collect();
    }
    if path.extension().is_none_or(|e| e != "rs") || path.file_stem().unwrap() == "tests" {
        return Vec::new();
    }
    let code = code(&fs::read_to_string(path).unwrap());
    let names = names(&code)
        .into_iter()
        .map(|name| resolved(path, &name))
        .collect();
    vec![Source {
        path: path.strip_prefix(root()).unwrap().to_owned(),
        code,
        names,
    }]
}

/// `super::x` as `crate::module::x`.
fn resolved(path: &Path, name: &str) -> String {
    if !name.starts_with("super::") {
        return name.to_owned();
    }
    let mut place: Vec<&str> = path
        .strip_prefix(root().join("src"))
        .unwrap_or(path)
        .iter()
        .map(|part| part.to_str().unwrap().trim_end_matches(".rs"))
        .filter(|part| *part != "mod")
        .collect();
    let mut rest = name;
    while let Some(shorter) = rest.strip_prefix("super::") {
        // In a module inside the file it leads less far up, which is no way out of the layer.
        place.pop();
        rest = shorter;
    }
    match place.is_empty() {
        true => format!("crate::{rest}"),
        false => format!("crate::{}::{rest}", place.join("::")),
    }
}

/// The module of ours that a path leads into.
fn of_ours(name: &str) -> Option<&str> {
    first(name.strip_prefix("crate::")?)
        .filter(|module| MAY_USE.iter().any(|(layer, _)| layer == module))
}

fn first(path: &str) -> Option<&str> {
    path.split("::").next()
}

/// Without comments, the insides of strings, and what is there for tests only.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("#[cfg(test)]") {
            break;
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// Of the string that the text begins with.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Every path that is named in the code, groups taken apart.
fn names(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = code;
    while let Some(start) = rest.find("::") {
        let begin = rest[..start]
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |at| at + 1);
        let length = path(&rest[begin..], "", &mut names);
        rest = &rest[begin + length.max(start + 2 - begin)..];
    }
    // `pub(in crate::x)` and the like have no group and are read like any other; `crate::x` where
    // nothing follows too.
    names.retain(|name| !name.starts_with("::") && name.contains("::"));
    names
}

/// Reads one path from the beginning of the text, with its group; says how long it is.
fn path(text: &str, prefix: &str, names: &mut BTreeSet<String>) -> usize {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .unwrap_or(text.len());
    let own = format!("{prefix}{}", &text[..end]);
    if !(own.ends_with("::") && text[end..].starts_with('{')) {
        names.insert(own.trim_end_matches(':').to_owned());
        return end;
    }
    let mut at = end + 1;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '}' => return at + 1,
            c if c.is_alphanumeric() || c == '_' => {
                at += path(&text[at..], &own, names);
                // `as name` renames, and names nothing.
                if let Some(renamed) = text[at..].trim_start().strip_prefix("as ") {
                    let skipped = text[at..].len() - renamed.len();
                    at += skipped + renamed.find([',', '}']).unwrap_or(renamed.len());
                }
            }
            c => at += c.len_utf8(),
        }
    }
    at
}
