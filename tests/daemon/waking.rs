//! One START for however many clients, none lost, none woken for who has left.

use std::{
    io::Write,
    net::Shutdown,
    time::{Duration, Instant},
};

use crate::harness::{Backend, Server, Stage, connect, fetch, is_silent, reset, rest, until};

#[test]
fn the_first_client_wakes_the_second_finds_it_awake_and_it_sleeps_when_idle() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("web");
    let daemon = stage.daemon(&format!(
        "[Web shop]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=300ms\n"
    ));
    assert_eq!(daemon.state("Web shop"), "asleep");

    let mut first = connect(front);
    let start = stage.called("start");
    assert_eq!(start.remote, first.local_addr().unwrap().to_string());
    assert_eq!(daemon.state("web-shop"), "waking");
    is_silent(&first);
    let server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut first), "page");
    drop(first);
    daemon.says("Web shop: woken by");

    assert_eq!(fetch(front), "page");
    assert_eq!(daemon.state("web-shop"), "awake");
    daemon.says("Web shop: nobody has used it for 30");
    drop(server);
    stage.called("stop").succeeds();
    daemon.says("Web shop: asleep");
    assert_eq!(daemon.state("web-shop"), "asleep");
    stage.nothing_called();
}

#[test]
fn a_thousand_clients_at_once_are_one_start_and_none_is_lost() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut clients: Vec<_> = (0..1000).map(|_| connect(front)).collect();
    let start = stage.called("start");
    until("all are held", || daemon.status("web")["held"] == 1000);
    let server = Server::greeting(back, "page");
    start.succeeds();
    for client in &mut clients {
        assert_eq!(rest(client), "page");
    }
    assert_eq!(server.count(), 1000);
    stage.nothing_called();
}

#[test]
fn clients_that_leave_while_they_are_held_cost_nothing_and_half_closed_ones_are_served() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let before = daemon.descriptors_in_use();
    // Of 500 one half resets, a quarter leaves without a word, a quarter has said all.
    let (mut leaving, mut asking) = (Vec::new(), Vec::new());
    for number in 0..500 {
        let mut client = connect(front);
        if number % 4 != 0 {
            leaving.push(client);
        } else {
            write!(client, "request {number}").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            asking.push((number, client));
        }
    }
    let start = stage.called("start");
    until("all are held", || daemon.status("web")["held"] == 500);
    for (number, client) in leaving.into_iter().enumerate() {
        match number % 3 {
            0 => drop(client),
            _ => reset(client),
        }
    }
    until("those have left", || daemon.status("web")["held"] == 125);
    let server = Server::shouting(back);
    start.succeeds();
    for (number, client) in &mut asking {
        assert_eq!(rest(client), format!("REQUEST {number}"));
    }
    assert_eq!(server.count(), 125, "nobody connects for who has left");
    stage.nothing_called();
    drop(asking);
    let over = Instant::now();
    until("the descriptors are back", || {
        daemon.descriptors_in_use() <= before
    });
    assert!(
        over.elapsed() <= Duration::from_secs(1),
        "{:?}",
        over.elapsed()
    );
    // The last of them closes before it is counted.
    until("all are counted", || {
        let outcomes = &daemon.counters()["outcomes"];
        outcomes["gave_up"] == 375 && outcomes["finished"] == 125
    });
}

#[test]
fn a_wake_goes_on_when_its_clients_have_left_and_what_it_woke_is_put_to_sleep() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=50ms\n"
    ));
    let client = connect(front);
    let start = stage.called("start");
    drop(client);
    daemon.says("left before it was served");
    let backend = Backend::at(back);
    start.succeeds();
    daemon.says("web: woken by");
    let stop = stage.called("stop");
    backend.nobody_came();
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn auto_start_wakes_it_without_a_client() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nAUTO_START=yes\n",
        stage.cue("")
    ));
    let start = stage.called("start");
    assert_eq!(start.remote, ":");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    daemon.says("web: woken by AUTO_START");
}

#[test]
fn a_backend_that_crashed_is_woken_by_the_next_client() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    drop(server);
    let mut clients = [connect(front), connect(front)];
    let start = stage.called("start");
    daemon.says("web: does not answer any more");
    let _server = Server::greeting(back, "again");
    start.succeeds();
    for client in &mut clients {
        assert_eq!(rest(client), "again");
    }
    stage.nothing_called();
}

#[test]
fn a_client_that_comes_while_stop_runs_is_held_and_wakes_it_again() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=50ms\n"
    ));
    let first = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    drop((backend.accept(), first));

    let stop = stage.called("stop");
    let mut late = connect(front);
    until("it is held", || daemon.status("web")["held"] == 1);
    assert_eq!(daemon.state("web"), "stopping");
    // The old one still listens when STOP ends: it is waited for, and nobody is sent to it.
    stop.succeeds();
    until("it is not gone", || {
        daemon.said("a command exited with status 0") >= 2
    });
    backend.nobody_came();
    drop(backend);

    let start = stage.called("start");
    let _server = Server::greeting(back, "new");
    start.succeeds();
    assert_eq!(rest(&mut late), "new");
}

#[test]
fn no_client_is_lost_between_one_sleep_and_the_next_wake() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let script = stage.write("backend", include_str!("backend.py"));
    let pid = stage.path("pid");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nIDLE_TIME=1ms\n\
         START_CMD=/usr/bin/python3 -S {} {} {} & echo $! >{pid}\n\
         STOP_CMD=kill $(cat {pid})\n",
        script.display(),
        back.ip(),
        back.port(),
        pid = pid.display(),
    ));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        // From within the idle time to after its end: before, while and after STOP runs.
        std::thread::sleep(std::time::Duration::from_micros(random.u64(0..12_000)));
        assert_eq!(fetch(front), "page");
    }
    assert!(daemon.said("web: asleep") > 20, "it never slept");
    assert_eq!(daemon.said("warning: "), 0);
    assert_eq!(daemon.said("error: "), 0);
}
