//! What is awake, on disk: one file a service in the runtime directory, for the next daemon.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::{
    model::{ServiceName, Slug},
    service::Record,
};

/// A record is a few hundred bytes; a larger file is not one of ours.
const MOST_BYTES: u64 = 64 * 1024;

/// Where the records are; nowhere, if the daemon has no runtime directory.
#[derive(Debug)]
pub(super) struct Records {
    directory: Option<PathBuf>,
}

/// Whose sections they are of. A file that is tried by hand knows nothing of the usual ones', and
/// would take what these have woken for what has lost its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// Those that are read without `-f`.
    Usual,
    /// `-f FILE`.
    Other,
}

impl Files {
    fn directory(self) -> &'static str {
        match self {
            Self::Usual => "state",
            Self::Other => "state-other",
        }
    }
}

impl Records {
    /// Keeps records in this runtime directory.
    ///
    /// # Errors
    /// Where a directory in it cannot be made.
    pub(super) fn new(runtime: Option<&Path>, of: Files) -> io::Result<Self> {
        let directory = runtime.map(|runtime| runtime.join(of.directory()));
        if let Some(directory) = &directory {
            fs::create_dir_all(directory)?;
        }
        Ok(Self { directory })
    }

    /// What the last daemon wrote of this service. A file that cannot be understood is said and
    /// left out: the backend is found by CHECK or TARGET then, or woken again.
    pub(super) fn read(&self, slug: &Slug) -> Option<Record> {
        let path = self.path(slug)?;
        let understood = match fs::metadata(&path) {
            Ok(meta) if meta.len() > MOST_BYTES => Err("it is too large".to_owned()),
            Ok(_) => fs::read(&path)
                .map_err(|e| e.to_string())
                .and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => Err(e.to_string()),
        };
        understood
            .inspect_err(|why| warn!("{}: left out, {why}", path.display()))
            .ok()
    }

    /// Writes it down, or removes what was; a reader never sees half of it.
    ///
    /// # Errors
    /// Those of writing and renaming a file.
    pub(super) fn write(&self, slug: &Slug, record: Option<&Record>) -> io::Result<()> {
        let Some(path) = self.path(slug) else {
            return Ok(());
        };
        let Some(record) = record else {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        };
        write_atomically(&path, &serde_json::to_vec(record)?)
    }

    /// The services that were awake, by slug.
    pub(super) fn slugs(&self) -> Vec<Slug> {
        let Some(Ok(entries)) = self.directory.as_ref().map(fs::read_dir) else {
            return Vec::new();
        };
        let names = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name());
        names
            .filter_map(|name| ServiceName::new(name.to_str()?.strip_suffix(".json")?).slug())
            .collect()
    }

    fn path(&self, slug: &Slug) -> Option<PathBuf> {
        self.directory
            .as_ref()
            .map(|directory| directory.join(format!("{slug}.json")))
    }
}

/// Writes a file beside the old one and renames it over it. Not synced: the runtime directory is
/// in memory, and does not outlive the machine's run.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{BackendProcess, ProcessId, StopPlan, Timestamp},
        service::BackendRecord,
    };

    #[test]
    fn what_is_written_is_read_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let slug = ServiceName::new("Web").slug().unwrap();
        let record = Record {
            service: ServiceName::new("Web"),
            since: Timestamp::BOOT,
            last_use: Timestamp::since_boot(std::time::Duration::from_millis(1234)),
            in_use: true,
            destinations: vec!["127.0.0.1:80".parse().unwrap(), "/run/x".parse().unwrap()],
            backend: Some(BackendRecord {
                process: BackendProcess {
                    id: ProcessId {
                        pid: 17,
                        started: 4711,
                    },
                    cgroup: Some("/sys/fs/cgroup/x/cmd-web-command-0".into()),
                },
                since: Timestamp::BOOT,
                stop: StopPlan::default(),
            }),
        };
        let records = Records::new(Some(directory.path()), Files::Usual).unwrap();
        assert_eq!(records.read(&slug), None);
        records.write(&slug, Some(&record)).unwrap();
        let next = Records::new(Some(directory.path()), Files::Usual).unwrap();
        assert_eq!(next.read(&slug), Some(record));
        assert_eq!(next.slugs(), std::slice::from_ref(&slug));
        next.write(&slug, None).unwrap();
        assert_eq!(next.read(&slug), None);
        next.write(&slug, None).unwrap();
    }

    #[test]
    fn a_file_that_is_tried_knows_nothing_of_what_the_usual_ones_have_woken() {
        let directory = tempfile::tempdir().unwrap();
        let slug = ServiceName::new("web").slug().unwrap();
        let usual = Records::new(Some(directory.path()), Files::Usual).unwrap();
        let text = r#"{"service":"web","since":{"secs":1,"nanos":0},"last_use":{"secs":2,"nanos":0},
            "in_use":false,"destinations":[]}"#;
        fs::write(directory.path().join("state/web.json"), text).unwrap();
        let tried = Records::new(Some(directory.path()), Files::Other).unwrap();
        assert!(tried.slugs().is_empty());
        tried.write(&slug, None).unwrap();
        assert_eq!(usual.slugs(), [slug]);
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let slug = ServiceName::new("web").slug().unwrap();
        let records = Records::new(Some(directory.path()), Files::Usual).unwrap();
        let text = r#"{"service":"web","since":{"secs":1,"nanos":0},"last_use":{"secs":2,"nanos":0},
            "in_use":false,"destinations":[]}"#;
        fs::write(directory.path().join("state/web.json"), text).unwrap();
        assert_eq!(records.read(&slug).unwrap().backend, None);
    }

    #[test]
    fn a_file_that_is_no_record_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let slug = ServiceName::new("web").slug().unwrap();
        let records = Records::new(Some(directory.path()), Files::Usual).unwrap();
        fs::write(directory.path().join("state/web.json"), "{").unwrap();
        assert_eq!(records.read(&slug), None);
    }
}
