//! From a request to a process. Everything here may block (user databases, files, exec from a
//! slow disk), so it runs off the runtime's thread.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::Uid;
use tokio::process::Child;

use super::{
    Inner,
    cgroup_label::label,
    environment::{self, Variables},
    error::SpawnError,
    invocation::Invocation,
    output::{Output, Stream},
    pipe_name::{Channel, PipeName},
};
use crate::{
    model::{Action, CommandRequest},
    sys::{
        cgroup::Cgroup,
        fd::{self, PipeEnds},
        process::{ChildSetup, Step},
        user::{self, Identity},
    },
};

/// How much a pipe holds, at best: what a backend may print while a daemon restarts before it has
/// to wait. Pipes beyond a user's quota stay smaller.
const PIPE_SIZE: i32 = 256 * 1024;

/// A process of ours, and what belongs to it.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) output: Output,
    pub(super) cgroup: Option<Cgroup>,
    /// What went not quite as it should, for the log.
    pub(super) remarks: Remarks,
}

/// What does not keep a command from running, but should be known.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// Lines of environment files that set nothing.
    pub(super) refused_variables: Vec<(PathBuf, String)>,
    /// Why there is no control group.
    pub(super) no_cgroup: Option<io::Error>,
}

/// Where a command prints to: standard output and standard error.
#[derive(Debug)]
struct Printing {
    writers: [OwnedFd; 2],
    /// What we read, and the names under which that is kept. None, where it prints where we do.
    read: Option<([String; 2], [OwnedFd; 2])>,
}

/// Where a command runs.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    may_be_missing: bool,
}

/// What one attempt needs.
struct Launch<'a> {
    inner: &'a Inner,
    identity: &'a Identity,
    variables: &'a Variables,
    directory: &'a Directory,
    writers: &'a [OwnedFd; 2],
}

/// Starts the command, unless `given_up` says so before. Blocks; needs a runtime.
pub(super) fn spawn(
    inner: &Arc<Inner>,
    request: &CommandRequest,
    given_up: &AtomicBool,
) -> Result<Spawned, SpawnError> {
    let identity = user::resolve(&request.recipe.account)?;
    let mut variables = environment::variables(request, &identity)?;
    let directory = Directory::of(request, &identity);
    let mut remarks = Remarks {
        refused_variables: std::mem::take(&mut variables.refused),
        no_cgroup: None,
    };
    let mut cgroup = cgroup(inner, request, &mut remarks);
    let uid = identity.switch.as_ref().map(|to| to.uid);
    let printing = Printing::of(inner, request, uid).map_err(SpawnError::Pipe)?;
    if given_up.load(Ordering::Acquire) {
        return Err(SpawnError::GivenUp);
    }
    let Printing { writers, read } = printing;
    let names = read.as_ref().map(|(names, _)| names.clone());
    let names = names.as_ref().map_or(&[][..], |names| names);
    // Before there is a process: from its first moment on its pipes do not end in us alone.
    for (name, end) in names.iter().zip(read.iter().flat_map(|(_, ends)| ends)) {
        inner.keeper.keep(name, end.as_fd());
    }
    // Nor does it start before its pipes can be read: one that is to fail now would be left running.
    let streams = read.map(|(names, ends)| streams(&names, ends)).transpose();
    let started = streams.and_then(|streams| {
        let launch = Launch {
            inner,
            identity: &identity,
            variables: &variables,
            directory: &directory,
            writers: &writers,
        };
        let child = launch.start(&Invocation::of(request), &mut cgroup, &mut remarks)?;
        Ok((child, streams))
    });
    if started.is_err() {
        take_back(inner, cgroup.as_ref(), names);
    }
    let (child, streams) = started?;
    let service = request.service.as_str();
    let keeper = Arc::clone(&inner.keeper);
    Ok(Spawned {
        child,
        output: Output::new(service, request.action, streams, keeper),
        cgroup,
        remarks,
    })
}

/// Undoes what was made for a command that could not be started.
fn take_back(inner: &Inner, cgroup: Option<&Cgroup>, names: &[String]) {
    if let Some(cgroup) = cgroup {
        // The runtime may have refused a process that runs already. Mostly nobody is in there, and
        // then nothing can go wrong.
        let _ = cgroup.kill();
    }
    for name in names {
        inner.keeper.release(name);
    }
}

// === impl Printing ===

impl Printing {
    fn of(inner: &Inner, request: &CommandRequest, owner: Option<Uid>) -> io::Result<Self> {
        if request.recipe.attached && request.action == Action::Command {
            let writers = [
                io::stdout().as_fd().try_clone_to_owned()?,
                io::stderr().as_fd().try_clone_to_owned()?,
            ];
            return Ok(Self {
                writers,
                read: None,
            });
        }
        let (names, [out, err]) = pipes(inner, request, owner)?;
        Ok(Self {
            writers: [out.write, err.write],
            read: Some((names, [out.read, err.read])),
        })
    }
}

/// Those of both outputs, and the names under which they are kept.
fn pipes(
    inner: &Inner,
    request: &CommandRequest,
    owner: Option<Uid>,
) -> io::Result<([String; 2], [PipeEnds; 2])> {
    let pipes = [pipe(owner)?, pipe(owner)?];
    let number = inner.next_number();
    let names = [Channel::Out, Channel::Err]
        .map(|channel| PipeName::new(&request.slug, request.action, channel, number).to_string());
    Ok((names, pipes))
}

fn streams(names: &[String; 2], [out, err]: [OwnedFd; 2]) -> Result<[Stream; 2], SpawnError> {
    let stream = |channel, name: &String, end| Stream::new(channel, name.clone(), end);
    stream(Channel::Out, &names[0], out)
        .and_then(|out| Ok([out, stream(Channel::Err, &names[1], err)?]))
        .map_err(SpawnError::Pipe)
}

fn pipe(owner: Option<Uid>) -> io::Result<PipeEnds> {
    let mut ends = PipeEnds::new()?;
    // Best effort: a smaller pipe serves as well, for less output.
    ends.grow(PIPE_SIZE);
    // Without systemd's descriptor store a pipe does end in the daemon alone. Then what still
    // runs when the daemon goes has itself as a reader: it waits when the pipe is full, and is
    // not killed by SIGPIPE.
    ends.keep_readable();
    if let Some(uid) = owner {
        // Only who opens /dev/stderr by name would notice if it failed.
        let _ = ends.give_to(uid);
    }
    Ok(ends)
}

/// `/dev/null`, or in a root that has none, as a bare container's, a pipe that nobody writes into.
fn nothing_to_read() -> io::Result<Stdio> {
    match File::open("/dev/null") {
        Ok(null) => Ok(null.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(PipeEnds::new()?.read.into()),
        Err(e) => Err(e),
    }
}

/// A group for the command; without one, a process group has to do.
fn cgroup(inner: &Inner, request: &CommandRequest, remarks: &mut Remarks) -> Option<Cgroup> {
    let parent = inner.cgroups.as_ref()?;
    if matches!(request.action, Action::Start | Action::Command) {
        // Backends that have ended since left theirs behind. Any that cannot be removed now will
        // be tried again next time.
        let _ = parent.sweep();
    }
    match parent.create(&label(request)) {
        Ok(group) => Some(group),
        Err(e) => {
            remarks.no_cgroup = Some(e);
            None
        }
    }
}

// === impl Directory ===

impl Directory {
    /// WORKING_DIRECTORY as in systemd.exec(5): `~` is the user's home, and after a `-` the
    /// directory may be missing.
    fn of(request: &CommandRequest, identity: &Identity) -> Self {
        let said = request.recipe.working_directory.as_os_str().as_bytes();
        let (said, may_be_missing) = match said.strip_prefix(b"-") {
            Some(rest) => (rest, true),
            None => (said, false),
        };
        let path = match said {
            // Where none is said and a person has started us, it is where that person is.
            b"" if request.recipe.attached => {
                std::env::current_dir().unwrap_or_else(|_| "/".into())
            }
            b"" => PathBuf::from("/"),
            b"~" => identity
                .user
                .as_ref()
                .map_or_else(|| "/".into(), |user| user.home.clone()),
            path => PathBuf::from(std::ffi::OsStr::from_bytes(path)),
        };
        Self {
            path,
            may_be_missing,
        }
    }
}

// === impl Launch ===

impl Launch<'_> {
    /// Starts it; by the shell, if the kernel does not know what kind of program it is.
    fn start(
        &self,
        how: &Invocation,
        cgroup: &mut Option<Cgroup>,
        remarks: &mut Remarks,
    ) -> Result<Child, SpawnError> {
        let result = self.attempt(how, cgroup, remarks);
        let other = match &result {
            Err((Step::Exec, e)) if e.raw_os_error() == Some(libc::ENOEXEC) => how.by_shell(),
            _ => None,
        };
        match other {
            None => result.map_err(|at| self.explain(how, at)),
            Some(shell) => self
                .attempt(&shell, cgroup, remarks)
                .map_err(|at| self.explain(&shell, at)),
        }
    }

    fn attempt(
        &self,
        how: &Invocation,
        cgroup: &mut Option<Cgroup>,
        remarks: &mut Remarks,
    ) -> Result<Child, (Step, io::Error)> {
        let before = |e| (Step::Fork, e);
        let mut command = how.command();
        command
            .env_clear()
            .envs(self.variables.set.iter().map(|(n, v)| (n, v)));
        let [out, err] = self.writers;
        command
            .stdin(nothing_to_read().map_err(before)?)
            .stdout(out.try_clone().map_err(before)?)
            .stderr(err.try_clone().map_err(before)?);
        let entrance = match cgroup.as_ref().map(Cgroup::entrance).transpose() {
            Ok(entrance) => entrance,
            Err(e) => {
                (*cgroup, remarks.no_cgroup) = (None, Some(e));
                None
            }
        };
        let setup = ChildSetup {
            cgroup: entrance,
            reset_oom_score: self.inner.spared_by_oom_killer,
            nofile: fd::nofile_limit_at_start(),
            credentials: self.identity.switch.clone(),
            directory: CString::new(self.directory.path.as_os_str().as_bytes())
                .map_err(|e| (Step::Directory, e.into()))?,
            directory_may_be_missing: self.directory.may_be_missing,
        };
        let progress = setup.apply(&mut command).map_err(before)?;
        let result = command.spawn();
        let report = progress.report();
        if report.outside_cgroup {
            let why = io::Error::other("the command could not enter it");
            (*cgroup, remarks.no_cgroup) = (None, Some(why));
        }
        result.map_err(|e| (report.step, e))
    }

    fn explain(&self, how: &Invocation, (step, source): (Step, io::Error)) -> SpawnError {
        match step {
            Step::Fork => SpawnError::Fork(source),
            Step::Limit => SpawnError::Limit(source),
            Step::Groups | Step::Gid | Step::Uid => SpawnError::Become {
                who: self.who(),
                source,
            },
            Step::StillRoot => SpawnError::StillRoot(self.who()),
            Step::Directory => SpawnError::Directory {
                directory: self.directory.path.clone(),
                source,
            },
            Step::Exec => how.explain(source),
        }
    }

    fn who(&self) -> String {
        let ids = match &self.identity.switch {
            Some(to) => format!("user id {}, group id {}", to.uid, to.gid),
            None => "who the daemon is".to_owned(),
        };
        match &self.identity.user {
            Some(user) => format!("'{}' ({ids})", user.name),
            None => ids,
        }
    }
}
