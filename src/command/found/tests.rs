use std::{
    os::fd::{AsFd, BorrowedFd},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::*;
use crate::{command::PipeKeeper, model::ServiceName, sys::cgroup::CgroupParent};

/// The names that were released.
#[derive(Default)]
struct Released(Mutex<Vec<String>>);

impl PipeKeeper for Released {
    fn keep(&self, _name: &str, _fd: BorrowedFd<'_>) {}

    fn release(&self, name: &str) {
        self.0.lock().unwrap().push(name.to_owned());
    }
}

/// A process that a former daemon has left.
struct Left {
    child: Child,
    pidfd: PidFd,
    process: BackendProcess,
}

impl Left {
    fn new() -> Self {
        use std::os::unix::process::CommandExt;
        let child = Command::new("/bin/sleep")
            .arg("1000")
            .process_group(0)
            // One that outlives a test that fails keeps nobody waiting for the end of its output.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let pidfd = PidFd::open(pid).unwrap();
        let id = identity(&pidfd).unwrap().unwrap();
        let process = BackendProcess { id, cgroup: None };
        Self {
            child,
            pidfd,
            process,
        }
    }

    fn inherited_as(&self, runner: &Runner, name: &str) {
        let fd = self.pidfd.as_fd().try_clone_to_owned().unwrap();
        runner.inherit_backend(name, fd);
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        // A test may have ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn web() -> Slug {
    ServiceName::new("web").slug().unwrap()
}

#[test]
fn one_that_was_put_back_is_not_unclaimed_and_is_found_under_its_name() {
    let released = Arc::new(Released::default());
    let runner = Runner::new(Arc::clone(&released) as Arc<dyn PipeKeeper>, None);
    let (left, stray) = (Left::new(), Left::new());
    left.inherited_as(&runner, "backend.web.1");
    stray.inherited_as(&runner, "backend.other.2");
    let found = runner.find_backend(&web(), &left.process).unwrap();
    runner.put_back(found);
    let unclaimed = runner.unclaimed_backends();
    let names: Vec<_> = unclaimed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["backend.other.2"]);
    let again = runner.find_backend(&web(), &left.process).unwrap();
    assert_eq!(again.name.unwrap().to_string(), "backend.web.1");
    assert_eq!(*released.0.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn one_that_has_ended_while_it_waited_is_released() {
    let released = Arc::new(Released::default());
    let runner = Runner::new(Arc::clone(&released) as Arc<dyn PipeKeeper>, None);
    let mut left = Left::new();
    left.inherited_as(&runner, "backend.web.1");
    let found = runner.find_backend(&web(), &left.process).unwrap();
    runner.put_back(found);
    left.child.kill().unwrap();
    left.child.wait().unwrap();
    assert!(runner.unclaimed_backends().is_empty());
    assert_eq!(*released.0.lock().unwrap(), ["backend.web.1"]);
}

#[tokio::test]
async fn a_second_name_of_one_that_was_adopted_is_released_and_it_lives() {
    let released = Arc::new(Released::default());
    let runner = Runner::new(Arc::clone(&released) as Arc<dyn PipeKeeper>, None);
    let left = Left::new();
    left.inherited_as(&runner, "backend.web.1");
    left.inherited_as(&runner, "backend.web.2");
    let found = runner.find_backend(&web(), &left.process).unwrap();
    let adopted = found.name.as_ref().unwrap().to_string();
    let _control = runner.adopt_backend("web", found, |_| {});
    assert!(runner.unclaimed_backends().is_empty());
    let released = released.0.lock().unwrap();
    assert!(
        released.len() == 1 && released[0] != adopted,
        "{released:?}"
    );
}

/// A directory like one of the kernel's control groups, with these processes in it.
fn group_with(parent: &std::path::Path, name: &str, processes: &[&Left]) -> PathBuf {
    let path = parent.join(name);
    std::fs::create_dir(&path).unwrap();
    let lives = u8::from(!processes.is_empty());
    std::fs::write(path.join("cgroup.events"), format!("populated {lives}\n")).unwrap();
    let numbers: Vec<String> = processes
        .iter()
        .map(|one| format!("{}\n", one.process.id.pid))
        .collect();
    std::fs::write(path.join("cgroup.procs"), numbers.concat()).unwrap();
    path
}

#[test]
fn a_command_in_a_control_group_of_ours_that_nobody_knows_is_unclaimed() {
    let home = tempfile::tempdir().unwrap();
    let (main, rest) = (Left::new(), Left::new());
    let (start, others) = (Left::new(), Left::new());
    let group = group_with(home.path(), "cmd-web-command-3", &[&rest, &main]);
    group_with(home.path(), "cmd-web-command-4", &[]);
    group_with(home.path(), "cmd-web-start-5", &[&start]);
    group_with(home.path(), "cmd-web-command", &[&start]);
    group_with(home.path(), "other-command-6", &[&others]);
    let cgroups = CgroupParent::at(home.path());
    let runner = Runner::new(Arc::new(()), Some(cgroups));
    let unclaimed = runner.unclaimed_backends();
    assert_eq!(unclaimed.len(), 1, "{unclaimed:?}");
    let (name, found) = &unclaimed[0];
    assert_eq!(name, "cmd-web-command-3");
    // The one that was there first.
    assert_eq!(found.process.id, main.process.id);
    assert_eq!(found.process.cgroup, Some(group));
}

#[tokio::test]
async fn a_command_in_a_control_group_is_claimed_by_its_record_or_by_its_daemon() {
    let home = tempfile::tempdir().unwrap();
    let (mut written, ended) = (Left::new(), Left::new());
    let of_record = group_with(home.path(), "cmd-web-command-1", &[&written]);
    let of_ended = group_with(home.path(), "cmd-third-command-3", &[&ended]);
    let cgroups = CgroupParent::at(home.path());
    let own = cgroups.create("own-command").unwrap();
    std::fs::write(own.path().join("cgroup.events"), "populated 1\n").unwrap();
    let number = format!("{}\n", ended.process.id.pid);
    std::fs::write(own.path().join("cgroup.procs"), number).unwrap();
    let runner = Runner::new(Arc::new(()), Some(cgroups));
    written.process.cgroup = Some(of_record);
    let found = runner.find_backend(&web(), &written.process).unwrap();
    runner.put_back(found);
    let mut gone = ended.process.clone();
    gone.id.started += 1;
    gone.cgroup = Some(of_ended);
    runner.bury_backend(&gone);
    let unclaimed = runner.unclaimed_backends();
    assert!(unclaimed.is_empty(), "{unclaimed:?}");
}
