//! What counts as use, and what does not.

use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Backend, Daemon, Stage, connect, is_reset, take};

/// A service that is awake, with one open connection: both ends of it.
struct Awake {
    stage: Stage,
    daemon: Daemon,
    backend: Backend,
    client: TcpStream,
    server: TcpStream,
    /// What its section says.
    configuration: String,
}

fn awake(keys: &str) -> Awake {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let keys = keys.replace("CUE", &cue);
    let configuration =
        format!("[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n{keys}\n");
    let daemon = stage.daemon(&configuration);
    let client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let server = backend.accept();
    daemon.says("woken by");
    Awake {
        stage,
        daemon,
        backend,
        client,
        server,
        configuration,
    }
}

impl Awake {
    /// STOP is run; it is let through, with the backend gone.
    #[track_caller]
    fn sleeps(self) -> (Stage, Daemon) {
        self.stage.called("stop").does("exit 0");
        drop(self.backend);
        self.daemon.says("web: asleep");
        (self.stage, self.daemon)
    }
}

/// Lets time pass, in which nothing may happen: the subject of the test, not a way to wait.
fn pass(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn an_open_connection_keeps_it_awake_and_its_end_starts_the_clock() {
    let web = awake("IDLE_TIME=200ms");
    pass(600);
    web.stage.nothing_called();
    drop((
        web.client.try_clone().unwrap(),
        web.server.try_clone().unwrap(),
    ));
    let Awake {
        stage,
        daemon,
        backend,
        client,
        server,
        ..
    } = web;
    let ended = Instant::now();
    drop((client, server));
    let stop = stage.called("stop");
    assert!(
        ended.elapsed() >= Duration::from_millis(200),
        "{:?}",
        ended.elapsed()
    );
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn with_idle_on_bytes_a_silent_connection_does_not_keep_it_awake_and_is_closed() {
    let web = awake("IDLE_TIME=300ms\nIDLE_ON=bytes");
    let (client, server) = (
        web.client.try_clone().unwrap(),
        web.server.try_clone().unwrap(),
    );
    let (_stage, daemon) = web.sleeps();
    is_reset(client);
    is_reset(server);
    assert_eq!(daemon.state("web"), "asleep");
}

#[test]
fn with_idle_on_bytes_a_connection_that_moves_keeps_it_awake() {
    let mut web = awake("IDLE_TIME=500ms\nIDLE_ON=bytes");
    for _ in 0..15 {
        pass(100);
        web.client.write_all(b".").unwrap();
        take(&mut web.server, 1);
        web.stage.nothing_called();
    }
    let last = Instant::now();
    let stop = web.stage.called("stop");
    assert!(
        last.elapsed() >= Duration::from_millis(450),
        "{:?}",
        last.elapsed()
    );
    stop.succeeds();
}

#[test]
fn with_idle_on_command_idle_cmd_alone_decides() {
    let web = awake("IDLE_TIME=10ms\nIDLE_ON=command\nIDLE_CMD=CUE\nIDLE_CHECK_INTERVAL=100ms");
    web.stage.called("idle").fails();
    web.stage.called("idle").fails();
    web.stage.called("idle").succeeds();
    let client = web.client.try_clone().unwrap();
    web.sleeps();
    is_reset(client);
}

#[test]
fn idle_cmd_vetoes_sleep_until_it_agrees() {
    let web = awake("IDLE_TIME=50ms\nIDLE_CMD=CUE\nIDLE_CHECK_INTERVAL=100ms");
    let Awake {
        stage,
        daemon,
        backend,
        client,
        server,
        ..
    } = web;
    drop((client, server));
    stage.called("idle").does("exit 1");
    stage.called("idle").does("exit 1");
    stage.nothing_called();
    assert_eq!(daemon.state("web"), "awake");
    stage.called("idle").succeeds();
    let stop = stage.called("stop");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn reloads_do_not_put_idle_cmd_off() {
    let web = awake("IDLE_TIME=1h\nIDLE_CMD=CUE\nIDLE_CHECK_INTERVAL=1s");
    let Awake {
        stage,
        daemon,
        client,
        server,
        configuration,
        ..
    } = web;
    drop((client, server));
    let begun = Instant::now();
    for turn in 1..4 {
        pass(300);
        stage.configure(&format!("{configuration}MAX_WAITING={turn}\n"));
        daemon.reload();
    }
    stage.called("idle").succeeds();
    assert!(
        begun.elapsed() < Duration::from_millis(1700),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn min_uptime_puts_sleep_off() {
    let woken = Instant::now();
    let web = awake("IDLE_TIME=10ms\nMIN_UPTIME=1s");
    let Awake {
        stage,
        client,
        server,
        ..
    } = web;
    drop((client, server));
    stage.called("stop").fails();
    assert!(
        woken.elapsed() >= Duration::from_secs(1),
        "{:?}",
        woken.elapsed()
    );
}

#[test]
fn a_reload_does_not_restart_the_idle_clock() {
    let web = awake("IDLE_TIME=2s");
    let Awake {
        stage,
        daemon,
        client,
        server,
        configuration,
        ..
    } = web;
    let ended = Instant::now();
    drop((client, server));
    pass(1500);
    stage.configure(&format!("# changed\n{configuration}MAX_WAITING=5\n"));
    daemon.reload();
    let stop = stage.called("stop");
    let took = ended.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    stop.fails();
}

#[test]
fn a_connection_across_a_reload_keeps_it_awake() {
    let mut web = awake("IDLE_TIME=200ms");
    web.stage
        .configure(&format!("{}MAX_WAITING=5\n", web.configuration));
    web.daemon.reload();
    pass(600);
    web.stage.nothing_called();
    web.client.write_all(b"still here").unwrap();
    assert_eq!(take(&mut web.server, 10), b"still here");
}

#[test]
fn a_shorter_idle_time_takes_effect_at_a_reload() {
    let web = awake("IDLE_TIME=1h");
    let Awake {
        stage,
        daemon,
        backend,
        client,
        server,
        configuration,
    } = web;
    drop((client, server));
    stage.configure(&configuration.replace("IDLE_TIME=1h", "IDLE_TIME=1ms"));
    daemon.reload();
    let stop = stage.called("stop");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn asking_for_the_status_is_no_use() {
    let web = awake("IDLE_TIME=500ms");
    let Awake {
        stage,
        daemon,
        client,
        server,
        ..
    } = web;
    drop((client, server));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(400) {
        assert_eq!(daemon.state("web"), "awake");
    }
    stage.called("stop").fails();
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn what_already_ran_when_the_daemon_started_is_put_to_sleep_too() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=100ms\n"
    ));
    daemon.says("web: already runs");
    let stop = stage.called("stop");
    // It was looked for without being touched.
    backend.nobody_came();
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn a_stop_that_hangs_is_ended_and_whether_it_took_is_looked_up() {
    let mut web = awake("IDLE_TIME=50ms\nIDLE_ON=bytes\nSTOP_CMD_TIMEOUT=200ms");
    let stop = web.stage.called("stop").does("sleep 1000 & sleep 1000");
    stop.ends();
    web.daemon
        .says("web: could not be put to sleep and counts as awake: STOP_CMD");
    // It did not take: the connection goes on.
    web.client.write_all(b"on").unwrap();
    assert_eq!(take(&mut web.server, 2), b"on");
    // This time it does, though STOP fails.
    let stop = web.stage.called("stop");
    drop(web.backend);
    stop.fails();
    web.daemon.says("but it is gone, so it is taken for asleep");
    web.daemon.says("web: asleep");
}

#[test]
fn a_backend_that_outlives_stop_for_stop_timeout_counts_as_awake() {
    let web = awake("IDLE_TIME=50ms\nIDLE_ON=bytes\nSTOP_TIMEOUT=200ms");
    web.stage.called("stop").succeeds();
    web.daemon
        .says("counts as awake: STOP_CMD succeeded, but after STOP_TIMEOUT somebody listens");
    assert_eq!(web.daemon.state("web"), "awake");
}

#[test]
fn a_half_closed_relay_ends_after_half_close_timeout_and_lets_it_sleep() {
    let web = awake("IDLE_TIME=50ms\nHALF_CLOSE_TIMEOUT=200ms");
    web.client.shutdown(std::net::Shutdown::Write).unwrap();
    // The backend never answers, and never closes.
    web.stage.called("stop").fails();
}
