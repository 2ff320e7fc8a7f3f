//! COMMANDs of a former daemon that nobody has written down.

use std::{sync::Arc, time::Duration};

use sleepingd::{
    command::{BackendControl, BackendNews, PipeKeeper, Runner},
    model::{Action, BackendProcess, StopPlan},
    sys::cgroup::CgroupParent,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    cgroup::TestCgroup,
    rig::{PATIENCE, Store, request},
};

/// One that has left its process group as well.
const TEXT: &str = "setsid sleep 1000 & sleep 1000";

fn daemon(cgroup: &TestCgroup, keeper: Arc<dyn PipeKeeper>) -> Runner {
    Runner::new(keeper, Some(CgroupParent::at(&cgroup.0)))
}

async fn next(news: &mut mpsc::UnboundedReceiver<BackendNews>) -> BackendNews {
    timeout(PATIENCE, news.recv()).await.unwrap().unwrap()
}

async fn started(
    runner: &Runner,
) -> (
    BackendControl,
    BackendProcess,
    mpsc::UnboundedReceiver<BackendNews>,
) {
    let (to, mut news) = mpsc::unbounded_channel();
    let control = runner.start_backend(request(Action::Command, TEXT), move |one| {
        // The test may be over.
        let _ = to.send(one);
    });
    match next(&mut news).await {
        BackendNews::Started(process) => (control, process, news),
        BackendNews::Ended(end) => panic!("it has ended: {end:?}"),
    }
}

#[tokio::test]
async fn one_that_was_not_written_down_is_found_by_its_control_group_and_ended() {
    let Some(cgroup) = TestCgroup::new("stray") else {
        return;
    };
    let former = daemon(&cgroup, Arc::new(()));
    let (_control, process, mut news) = started(&former).await;
    let group = process.cgroup.clone().unwrap();
    let runner = daemon(&cgroup, Arc::new(()));
    let mut unclaimed = runner.unclaimed_backends();
    assert_eq!(unclaimed.len(), 1, "{unclaimed:?}");
    let (name, found) = unclaimed.remove(0);
    assert_eq!(Some(name.as_str()), group.file_name().unwrap().to_str());
    let plan = StopPlan {
        timeout: Some(Duration::from_secs(10)),
        ..StopPlan::default()
    };
    runner.end_backend(&name, found, plan);
    // Its parent, which is the former one still.
    assert!(matches!(next(&mut news).await, BackendNews::Ended(_)));
    let events = std::fs::read_to_string(group.join("cgroup.events")).unwrap_or_default();
    assert!(!events.contains("populated 1"), "{events}");
}

#[tokio::test]
async fn one_that_was_kept_is_not_found_a_second_time_by_its_control_group() {
    let Some(cgroup) = TestCgroup::new("kept") else {
        return;
    };
    let store = Arc::new(Store::default());
    let former = daemon(&cgroup, Arc::clone(&store) as Arc<dyn PipeKeeper>);
    let (control, _, mut news) = started(&former).await;
    let kept = || {
        let kept = store.kept.lock().unwrap();
        let mut all = kept.iter().filter(|(name, _)| name.starts_with("backend."));
        all.next()
            .map(|(name, fd)| (name.clone(), fd.try_clone().unwrap()))
    };
    // It is told before it is kept.
    let (name, fd) = timeout(PATIENCE, async {
        loop {
            match kept() {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    let runner = daemon(&cgroup, Arc::new(()));
    runner.inherit_backend(&name, fd);
    let unclaimed = runner.unclaimed_backends();
    let names: Vec<_> = unclaimed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [name]);
    control.kill();
    assert!(matches!(next(&mut news).await, BackendNews::Ended(_)));
}
