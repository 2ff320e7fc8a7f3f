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
        watch(&inner, &request, spawned, |pid| {
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
