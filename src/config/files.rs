//! Which files there are, and whether they can be trusted.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Severity};

/// Where the configuration lives.
pub const BASE_DIRECTORY: &str = "/etc/sleepingd";

/// The first file, in the base directory.
const MAIN_FILE: &str = "sleepingd.conf";

/// The directory of the others, in the base directory.
const DROP_IN_DIRECTORY: &str = "sleepingd.conf.d";

/// A configuration of that size is something else.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// So many files are read.
const MAX_FILES: usize = 1000;

/// Permission bits by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it was.
    pub path: PathBuf,
    /// What was in it. Bytes that are not UTF-8 are U+FFFD here, and an error when it is parsed.
    pub text: String,
}

/// Some files could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// What is wrong, for each of them.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that could be read, for who must serve what there is.
    pub sound: Vec<SourceFile>,
    /// Nothing is wrong but that there is no file at all.
    absence: bool,
}

/// Whose files are trusted.
#[derive(Clone, Copy)]
struct Trust {
    /// Nobody but root may have a say in what root runs.
    root_only: bool,
}

/// Reads `explicit`, or `/etc/sleepingd/sleepingd.conf` and then
/// `/etc/sleepingd/sleepingd.conf.d/*.conf` in the order of their names (of bytes, as `LC_ALL=C
/// ls` has it; hidden files are left out).
///
/// With `euid_is_root` a file is refused if its owner is not root, or if its group or others may
/// write to it; and so are the two directories.
///
/// # Errors
/// All that is wrong, with the files that are not.
pub fn read_files(
    explicit: Option<&Path>,
    euid_is_root: bool,
) -> Result<Vec<SourceFile>, ReadError> {
    read_files_under(Path::new(BASE_DIRECTORY), explicit, euid_is_root)
}

/// [`read_files`] with another base directory.
///
/// # Errors
/// As there.
pub fn read_files_under(
    base: &Path,
    explicit: Option<&Path>,
    euid_is_root: bool,
) -> Result<Vec<SourceFile>, ReadError> {
    let trust = Trust {
        root_only: euid_is_root,
    };
    let mut wrong = Vec::new();
    let paths = match explicit {
        Some(path) => vec![path.to_owned()],
        None => find(base, trust, &mut wrong),
    };
    let absence = paths.is_empty() && wrong.is_empty();
    if absence {
        wrong.push(format!(
            "there is no configuration: neither {} nor {}/*.conf exists",
            base.join(MAIN_FILE).display(),
            base.join(DROP_IN_DIRECTORY).display()
        ));
    }
    let mut sound = Vec::new();
    for path in paths {
        match read(&path, trust) {
            Ok(text) => sound.push(SourceFile { path, text }),
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    if wrong.is_empty() {
        return Ok(sound);
    }
    let diagnostic = |text: &String| Diagnostic::new(Severity::Error, None, None, text);
    Err(ReadError {
        diagnostics: wrong.iter().map(diagnostic).collect(),
        sound,
        absence,
    })
}

/// The files under the base directory.
fn find(base: &Path, trust: Trust, wrong: &mut Vec<String>) -> Vec<PathBuf> {
    let main = base.join(MAIN_FILE);
    let directory = base.join(DROP_IN_DIRECTORY);
    // Who may write to a directory may put another file in the place of a good one.
    if let Err(why) = check_directory(base, trust) {
        wrong.push(format!("{}: {why}", base.display()));
        return Vec::new();
    }
    let mut paths = Vec::new();
    // A link to nowhere is a mistake, not a missing file.
    if fs::symlink_metadata(&main).is_ok() {
        paths.push(main.clone());
    }
    match check_directory(&directory, trust).and_then(|()| list(&directory)) {
        Ok(names) => paths.extend(names),
        Err(why) => wrong.push(format!("{}: {why}", directory.display())),
    }
    paths
}

/// The `*.conf` of a directory, by name. None where there is no directory.
fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot be listed: {error}")),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|error| format!("cannot be listed: {error}"))?
            .file_name();
        let bytes = name.as_encoded_bytes();
        if !bytes.ends_with(b".conf") || bytes.starts_with(b".") {
            continue;
        }
        if name.to_str().is_none() {
            return Err(format!("the name {name:?} is not valid UTF-8"));
        }
        names.push(name);
        if names.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files"));
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn check_directory(path: &Path, trust: Trust) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) => trust.check(&metadata, "directory"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("cannot be examined: {error}")),
    }
}

fn read(path: &Path, trust: Trust) -> Result<String, String> {
    // Before it is opened: a FIFO would block.
    regular(&fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?)?;
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    // And once more what was opened, which is what counts.
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be examined: {error}"))?;
    regular(&metadata)?;
    trust.check(&metadata, "file")?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(format!(
            "is larger than {} KiB, which no configuration is",
            MAX_FILE_SIZE >> 10
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn regular(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err("is not a regular file".to_owned())
    }
}

// === impl Trust ===

impl Trust {
    fn check(self, metadata: &Metadata, what: &str) -> Result<(), String> {
        let mode = metadata.mode();
        if !self.root_only {
            Ok(())
        } else if metadata.uid() != 0 {
            Err(format!(
                "the {what} belongs to user {}, who could have root run anything; chown it to root",
                metadata.uid()
            ))
        } else if mode & OTHERS_WRITE != 0 {
            Err(format!(
                "the {what} has mode {:04o}: others than root may write to it, and have root run \
                 anything; chmod it to {:04o}",
                mode & 0o7777,
                mode & 0o7777 & !OTHERS_WRITE
            ))
        } else {
            Ok(())
        }
    }
}

// === impl ReadError ===

impl ReadError {
    /// Whether nothing is wrong but that there is no file at all.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        self.absence
    }
}

impl std::error::Error for ReadError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            write!(f, "{separator}{}", diagnostic.message)?;
        }
        Ok(())
    }
}
