use std::{os::fd::BorrowedFd, path::Path, sync::Mutex};

use nix::errno::Errno;

use super::*;
use crate::{
    command::{PipeKeeper, Runner},
    model::{Action, CommandLine, Recipe, ServiceName},
};

/// The names that are kept.
#[derive(Default)]
struct Names(Mutex<Vec<String>>);

impl PipeKeeper for Names {
    fn keep(&self, name: &str, _fd: BorrowedFd<'_>) {
        self.0.lock().unwrap().push(name.to_owned());
    }

    fn release(&self, name: &str) {
        self.0.lock().unwrap().retain(|kept| kept != name);
    }
}

/// A keeper that takes its time with COMMANDs: until it may. It says what it has done with them.
struct Slow {
    may: Mutex<std::sync::mpsc::Receiver<()>>,
    done: Mutex<Vec<&'static str>>,
}

impl PipeKeeper for Slow {
    fn keep(&self, name: &str, _fd: BorrowedFd<'_>) {
        if name.starts_with("backend.") {
            // A test that has failed waits for nothing.
            let _ = self.may.lock().unwrap().recv();
            self.done.lock().unwrap().push("kept");
        }
    }

    fn release(&self, name: &str) {
        if name.starts_with("backend.") {
            self.done.lock().unwrap().push("released");
        }
    }
}

fn request(text: &str) -> CommandRequest {
    let service = ServiceName::new("web");
    CommandRequest {
        slug: service.slug().unwrap(),
        service,
        action: Action::Command,
        command: CommandLine::new(text).unwrap(),
        recipe: Arc::new(Recipe {
            shell: "/bin/sh".into(),
            working_directory: "/".into(),
            ..Recipe::default()
        }),
        timeout: None,
        destination: None,
        client: None,
    }
}

#[tokio::test]
async fn one_that_cannot_be_watched_is_killed_with_what_it_started_and_nothing_of_it_is_kept() {
    let names = Arc::new(Names::default());
    let runner = Runner::new(Arc::clone(&names) as Arc<dyn PipeKeeper>, None);
    let inner = Arc::clone(&runner.inner);
    let mut group = None;
    let result = {
        let request = request("sleep 1000 & sleep 1000");
        let spawned = spawn(&inner, &request, &AtomicBool::new(false)).unwrap();
        assert_eq!(names.0.lock().unwrap().len(), 2);
        watch(spawned, |pid| {
            group = Some(pid);
            Err(Errno::ENOSPC.into())
        })
    };
    assert!(matches!(result, Err(SpawnError::Watch(_))));
    let group = group.unwrap();
    assert!(!group_lives(group).unwrap());
    assert!(!Path::new("/proc").join(group.to_string()).exists());
    assert_eq!(*names.0.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn it_is_told_that_it_runs_before_anybody_keeps_it_and_it_is_kept_before_it_is_released() {
    let (go_on, slow) = std::sync::mpsc::channel();
    let keeper = Arc::new(Slow {
        may: Mutex::new(slow),
        done: Mutex::default(),
    });
    let runner = Runner::new(Arc::clone(&keeper) as Arc<dyn PipeKeeper>, None);
    let (to, mut news) = tokio::sync::mpsc::unbounded_channel();
    let control = runner.start_backend(request("sleep 1000"), move |one| {
        // A test that has failed is told nothing.
        let _ = to.send(one);
    });
    let first = timeout(KILL_WAIT, news.recv()).await;
    assert!(
        matches!(first, Ok(Some(BackendNews::Started(_)))),
        "{first:?}"
    );
    control.kill();
    tokio::spawn(async move {
        // So long a wrong order has time to show.
        tokio::time::sleep(LOOK_INTERVAL * 20).await;
        // Dropped, it lets the keeper go on too.
        let _ = go_on.send(());
    });
    assert!(matches!(news.recv().await, Some(BackendNews::Ended(_))));
    assert_eq!(*keeper.done.lock().unwrap(), ["kept", "released"]);
}
