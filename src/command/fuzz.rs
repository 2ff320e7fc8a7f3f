//! What holds for every output of a command, every file of variables, every name of a pipe or of a
//! COMMAND.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use super::{
    backend_name::BackendName,
    env_file,
    lines::{LINE_MAX, LineSplitter},
    pipe_name::PipeName,
};

pub(crate) fn all(bytes: &[u8]) {
    output(bytes);
    variables(bytes);
    if let Ok(name) = String::from_utf8_lossy(bytes).parse::<PipeName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(name) = String::from_utf8_lossy(bytes).parse::<BackendName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

/// The first byte says in which pieces the others come; the lines must be the same.
fn output(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = lines([bytes].into_iter());
    assert_eq!(whole, lines(bytes.chunks(usize::from(*size).max(1))));
    for (line, _) in whole {
        assert!(!line.contains('\n'));
        // What is not UTF-8 takes three bytes for one.
        assert!(line.len() <= 3 * LINE_MAX);
    }
}

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<(String, bool)> {
    let mut splitter = LineSplitter::default();
    let mut lines = Vec::new();
    for piece in pieces {
        splitter.feed(piece, |line| lines.push((line.text.into_owned(), line.cut)));
    }
    splitter.finish(|line| lines.push((line.text.into_owned(), line.cut)));
    lines
}

/// What was read can be written, and is read as the same.
fn variables(bytes: &[u8]) {
    let read = env_file::parse(bytes);
    let mut written = Vec::new();
    for (name, value) in &read.set {
        written.extend(name.as_bytes());
        written.extend(b"=\"");
        written.extend(quoted(value));
        written.extend(b"\"\n");
    }
    let again = env_file::parse(&written);
    assert_eq!(again.set, read.set);
    assert!(again.refused.is_empty());
}

fn quoted(value: &OsString) -> Vec<u8> {
    let special = |byte: &u8| b"\"\\`$".contains(byte);
    let bytes = value.as_bytes().iter();
    bytes
        .flat_map(|byte| special(byte).then_some(b'\\').into_iter().chain([*byte]))
        .collect()
}
