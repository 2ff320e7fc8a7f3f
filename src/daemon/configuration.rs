//! Reading the files, and what to serve when they are broken.
//!
//! In the foreground an error ends the daemon before it has begun; a reload with one keeps what
//! runs. But a daemon that systemd started with sockets has clients waiting in their backlogs, and
//! ending would only bring it back: it serves the last good files, else the sections that are
//! sound.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use super::records::{Files, write_atomically};
use crate::{
    config::{self, Diagnostic, Loaded, ReadError, Severity, SourceFile},
    model::{Definition, Scope},
    sys,
    systemd::journal::message_id,
};

/// Where the last good files are kept, in the runtime directory.
const LAST_GOOD: &str = "last-good.json";

/// And that of `-f FILE`.
const LAST_GOOD_OF_ANOTHER: &str = "last-good-other.json";

/// The configuration has errors. It carries everything that is wrong, the warnings too: an unknown
/// key is often the very reason why another one is missing.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} error(s)", self.errors().count())]
pub struct ConfigurationError {
    /// At least one error. First the files that could not be read, then the others by line.
    pub diagnostics: Vec<Diagnostic>,
}

/// A configuration that may be served.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) loaded: Loaded,
    /// What is wrong with it, in sentences; empty where it is what the files say.
    pub(super) caveats: Vec<String>,
}

/// Where configurations come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `-f FILE`.
    pub(super) explicit: Option<PathBuf>,
    /// Whose files are read where no other is named.
    pub(super) scope: Scope,
    /// Where the last good files are kept.
    pub(super) runtime: Option<PathBuf>,
}

/// Reads and checks the files, as the daemon in the foreground does.
///
/// # Errors
/// Every error there is, among the warnings.
pub fn load_for_foreground(
    explicit: Option<&Path>,
    scope: Scope,
    inherited: &[String],
) -> Result<Loaded, ConfigurationError> {
    let files = read(explicit, scope).map_err(|e| unread(e, inherited, scope))?;
    check(config::parse(&files, inherited, scope))
}

/// What a generator makes sockets of: what the daemon will serve, so as far as that can be said
/// before it runs. In its runtime directory it leaves the files that were last good.
///
/// Comes with what is wrong, in lines; nothing is wrong where there is no file at all.
#[must_use]
pub fn load_for_generator(scope: Scope) -> (Loaded, Vec<String>) {
    let source = Source {
        explicit: None,
        scope,
        runtime: scope.runtime(),
    };
    let wrong = match read(None, scope) {
        read if says_nothing(&read) => {
            return source
                .kept_instead(|files| parse_named(files, scope))
                .unwrap_or_default();
        }
        Ok(files) => match check(parse_named(&files, scope)) {
            Ok(loaded) => return (loaded, Vec::new()),
            Err(wrong) => wrong,
        },
        Err(e) => unread(e, &[], scope),
    };
    let mut lines: Vec<String> = wrong.errors().map(ToString::to_string).collect();
    let (loaded, served) = source.second_best(|files| parse_named(files, scope));
    lines.push(format!("{wrong}; {served}"));
    (loaded, lines)
}

/// Makes what the files say that to which a generator falls back, as the daemon does when it reads
/// them: for who puts them into effect while no daemon runs, and has checked them.
///
/// # Errors
/// Where they cannot be read, or there can be no runtime directory to keep them in, in words.
pub fn keep_as_last_good(scope: Scope) -> Result<(), String> {
    let files = match read(None, scope) {
        Ok(files) => files,
        Err(e) if e.is_absence() => Vec::new(),
        Err(e) => return Err(unread(e, &[], scope).to_string()),
    };
    let Some(runtime) = scope.runtime() else {
        return Ok(());
    };
    fs::create_dir_all(&runtime).map_err(|e| format!("{}: {e}", runtime.display()))?;
    let source = Source {
        explicit: None,
        scope,
        runtime: Some(runtime),
    };
    source.keep(&files);
    Ok(())
}

/// The same, for a generator whose files are sound, and only where nothing is kept yet: at boot,
/// when sockets are opened and no daemon may run for long. Later it is for who puts files into
/// effect to say which are good.
///
/// # Errors
/// As [`keep_as_last_good`].
pub fn keep_first_good(scope: Scope) -> Result<(), String> {
    let kept = scope.runtime().map(|runtime| runtime.join(LAST_GOOD));
    match kept {
        Some(kept) if !kept.exists() => keep_as_last_good(scope),
        _ => Ok(()),
    }
}

/// Reads and checks the files, as a generator does. No file is no error: there is nothing to make.
///
/// # Errors
/// Every error there is, among the warnings.
pub fn check_for_generator(scope: Scope) -> Result<Loaded, ConfigurationError> {
    match read(None, scope) {
        Ok(files) => check(parse_named(&files, scope)),
        Err(e) if e.is_absence() => Ok(Loaded::default()),
        Err(e) => Err(unread(e, &[], scope)),
    }
}

/// As if systemd handed over a socket for each section: whether it does is not known yet, and a
/// section that has nothing else to listen on has no say in what the others get.
fn parse_named(files: &[SourceFile], scope: Scope) -> Loaded {
    let blind = config::parse(files, &[], scope);
    let names: Vec<String> = blind.broken.iter().map(ToString::to_string).collect();
    config::parse(files, &names, scope)
}

fn read(explicit: Option<&Path>, scope: Scope) -> Result<Vec<SourceFile>, ReadError> {
    let root = nix::unistd::geteuid().is_root();
    match (explicit, scope.configuration()) {
        (None, Some(base)) => config::read_files_under(&base, None, root),
        (explicit, _) => config::read_files(explicit, root),
    }
}

/// Users and groups that are not there, which the files alone cannot tell. No errors: a name
/// service that is down must not keep a service from being served that is awake. Blocks.
#[must_use]
pub fn missing_accounts(definitions: &[Definition]) -> Vec<String> {
    let mut asked = HashMap::new();
    let missing = definitions.iter().filter_map(|definition| {
        let account = &definition.recipe.account;
        let answer = asked.entry(account.clone());
        let why = answer
            .or_insert_with(|| sys::user::resolve(account).err().map(|e| e.to_string()))
            .as_ref()?;
        Some(format!(
            "{}warning: {}: {why}; its commands will fail",
            definition.origin, definition.name
        ))
    });
    missing.collect()
}

/// Whether there is not a word in the files, or no file: what is being written just now looks so.
fn says_nothing(read: &Result<Vec<SourceFile>, ReadError>) -> bool {
    match read {
        Ok(files) => files.iter().all(|file| file.text.trim().is_empty()),
        Err(e) => e.is_absence(),
    }
}

fn check(loaded: Loaded) -> Result<Loaded, ConfigurationError> {
    if loaded.errors().next().is_some() {
        return Err(ConfigurationError {
            diagnostics: loaded.diagnostics,
        });
    }
    Ok(loaded)
}

/// One file that cannot be read does not hide what is wrong with the others.
fn unread(error: ReadError, inherited: &[String], scope: Scope) -> ConfigurationError {
    let mut diagnostics = error.diagnostics;
    diagnostics.extend(config::parse(&error.sound, inherited, scope).diagnostics);
    ConfigurationError { diagnostics }
}

impl ConfigurationError {
    /// What keeps the configuration from being served.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
    }

    /// Everything that is wrong, one line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.diagnostics.iter().map(ToString::to_string)
    }

    /// Logs everything that is wrong, each as bad as it is.
    pub fn log(&self) {
        for diagnostic in &self.diagnostics {
            match diagnostic.severity {
                Severity::Error => error!("{diagnostic}"),
                Severity::Warning => warn!("{diagnostic}"),
            }
        }
    }
}

impl Source {
    /// The file that most people write in.
    pub(super) fn usual_file(&self) -> PathBuf {
        let under = |base: PathBuf| base.join("sleepingd.conf");
        let usual = || self.scope.configuration().map(under);
        self.explicit.clone().or_else(usual).unwrap_or_default()
    }

    /// That there is nothing to serve, and what to do about it while the daemon runs.
    pub(super) fn nothing_configured(&self) -> String {
        let then = match (&self.explicit, self.scope) {
            (Some(_), _) => "sleepingctl reload",
            (None, Scope::System) => "sleepingctl apply",
            (None, Scope::User) => "sleepingctl --user apply",
        };
        let file = self.usual_file();
        format!(
            "no service is configured; write a section into {}, then run: {then}",
            file.display()
        )
    }

    /// The same, where no file at all is no error either: somebody will write one.
    pub(super) fn load_or_wait(&self, inherited: &[String]) -> Result<Loaded, ConfigurationError> {
        match self.read() {
            Err(e) if e.is_absence() => Ok(Loaded::default()),
            _ => self.load(inherited),
        }
    }

    /// What was served last, where there is not a word in the files: nobody has said that all
    /// sections are to go, as a reload would.
    pub(super) fn load_instead_of_nothing(&self, inherited: &[String]) -> Option<Configuration> {
        if !says_nothing(&self.read()) {
            return None;
        }
        let (loaded, caveats) =
            self.kept_instead(|files| config::parse(files, inherited, self.scope))?;
        for caveat in &caveats {
            warn!("{caveat}");
        }
        Some(Configuration { loaded, caveats })
    }

    /// Whose sections they are.
    pub(super) fn files(&self) -> Files {
        match self.explicit {
            Some(_) => Files::Other,
            None => Files::Usual,
        }
    }

    /// What the files say, and nothing else will do; they become the last good ones.
    pub(super) fn load(&self, inherited: &[String]) -> Result<Loaded, ConfigurationError> {
        let files = self.read().map_err(|e| unread(e, inherited, self.scope))?;
        let loaded = check(config::parse(&files, inherited, self.scope))?;
        for warning in loaded.warnings() {
            warn!("{warning}");
        }
        self.keep(&files);
        Ok(loaded)
    }

    /// Whether [`Self::load`] would succeed.
    pub(super) fn check(&self, inherited: &[String]) -> Result<Loaded, ConfigurationError> {
        let files = self.read().map_err(|e| unread(e, inherited, self.scope))?;
        check(config::parse(&files, inherited, self.scope))
    }

    /// What the files say, or the last good ones said, or what of them is sound: for clients wait.
    pub(super) fn load_anyhow(&self, inherited: &[String]) -> Configuration {
        let wrong = match self.load(inherited) {
            Ok(loaded) => {
                return Configuration {
                    loaded,
                    caveats: Vec::new(),
                };
            }
            Err(wrong) => wrong,
        };
        wrong.log();
        let (loaded, served) =
            self.second_best(|files| config::parse(files, inherited, self.scope));
        let first = wrong.errors().next().map(ToString::to_string);
        let caveat = format!(
            "{wrong}, {served}; mend it and reload: {}",
            first.unwrap_or_default()
        );
        error!(message_id = message_id::CONFIGURATION_REJECTED, "{caveat}");
        Configuration {
            loaded,
            caveats: vec![caveat],
        }
    }

    /// What the last daemon served, as far as that is known: the last good files, else these.
    pub(super) fn served(&self) -> Loaded {
        let files = self
            .last_good()
            .unwrap_or_else(|| self.read().unwrap_or_else(|e| e.sound));
        parse_named(&files, self.scope)
    }

    /// What was served last, for who finds no word in the files, and what is to be said of it.
    fn kept_instead(
        &self,
        parse: impl Fn(&[SourceFile]) -> Loaded,
    ) -> Option<(Loaded, Vec<String>)> {
        let kept = parse(&self.last_good()?);
        if kept.errors().next().is_some() || kept.definitions.is_empty() {
            return None;
        }
        let file = self.usual_file();
        let line = format!(
            "{}: there is nothing in it; the last good configuration is served until `sleepingctl \
             apply`",
            file.display()
        );
        Some((kept, vec![line]))
    }

    /// What is served where the files have errors, and how that is said.
    fn second_best(&self, parse: impl Fn(&[SourceFile]) -> Loaded) -> (Loaded, &'static str) {
        let last_good = self.last_good().map(|files| parse(&files));
        match last_good.filter(|loaded| loaded.errors().next().is_none()) {
            Some(loaded) => (loaded, "the last good configuration is served"),
            None => {
                let sound = self.read().unwrap_or_else(|e| e.sound);
                (parse(&sound), "the sections that are sound are served")
            }
        }
    }

    fn read(&self) -> Result<Vec<SourceFile>, ReadError> {
        read(self.explicit.as_deref(), self.scope)
    }

    fn keep(&self, files: &[SourceFile]) {
        let Some(path) = self.last_good_file() else {
            return;
        };
        let kept = serde_json::to_vec(files)
            .map_err(std::io::Error::from)
            .and_then(|json| write_atomically(&path, &json));
        if let Err(e) = kept {
            warn!(
                "{}: the last good configuration is not kept: {e}",
                path.display()
            );
        }
    }

    /// Of `-f FILE` another one: the generator reads that of the usual files, and would close their
    /// ports for a file that is tried by hand.
    fn last_good_file(&self) -> Option<PathBuf> {
        let name = match self.files() {
            Files::Other => LAST_GOOD_OF_ANOTHER,
            Files::Usual => LAST_GOOD,
        };
        Some(self.runtime.as_ref()?.join(name))
    }

    fn last_good(&self) -> Option<Vec<SourceFile>> {
        let path = self.last_good_file()?;
        let json = fs::read(&path).ok()?;
        serde_json::from_slice(&json)
            .inspect_err(|e| warn!("{}: left out, {e}", path.display()))
            .ok()
    }
}
