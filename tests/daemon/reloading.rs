//! A reload touches what has changed, and nothing else.

use std::{io::Write, net::TcpStream};

use crate::harness::{
    Backend, Server, Stage, connect, fetch, is_reset, rest, take, until, wildcard_port,
};

/// Whether somebody listens there: a connection that was refused.
fn is_closed(addr: std::net::SocketAddr) -> bool {
    TcpStream::connect(addr).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn what_has_not_changed_notices_nothing() {
    let stage = Stage::new();
    let (front, back, other) = (stage.address(), stage.address(), stage.address());
    let cue = stage.cue("");
    let section = format!("[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n");
    let daemon = stage.daemon(&section);
    let mut client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let mut server = backend.accept();

    // It moves down in the file, and gets company.
    stage.configure(&format!("[new]\nPORT={other}\nTARGET={back}\n{section}"));
    let reload = daemon.ctl(&["reload"]);
    assert_eq!((reload.code, reload.stderr.as_str()), (Some(0), ""));
    client.write_all(b"still").unwrap();
    assert_eq!(take(&mut server, 5), b"still");
    assert_eq!(daemon.state("web"), "awake");
    let _second = connect(front);
    backend.accept();
    let _third = connect(other);
    backend.accept();
    stage.nothing_called();
}

#[test]
fn a_section_that_is_new_listens_and_one_that_is_gone_drains_is_stopped_and_closes_its_port() {
    let stage = Stage::new();
    let (old_front, new_front) = (stage.address(), stage.address());
    let (old_back, new_back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[old]\nPORT={old_front}\nTARGET={old_back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n"
    ));
    let mut client = connect(old_front);
    let start = stage.called("start");
    let backend = Backend::at(old_back);
    start.succeeds();
    let mut server = backend.accept();

    let _new = Server::greeting(new_back, "new");
    stage.configure(&format!("[new]\nPORT={new_front}\nTARGET={new_back}\n"));
    daemon.reload();
    assert_eq!(fetch(new_front), "new");
    until("its port is closed", || is_closed(old_front));
    // What is open may finish; only then STOP is run.
    client.write_all(b"last words").unwrap();
    assert_eq!(take(&mut server, 10), b"last words");
    stage.nothing_called();
    drop((client, server));
    stage.called("stop").succeeds();
    daemon.says("old: asleep");
    assert_eq!(daemon.ctl(&["status", "old"]).code, Some(4));
}

#[test]
fn a_port_that_changes_opens_and_closes_and_keeps_what_is_open() {
    let stage = Stage::new();
    let (before, after, stays) = (stage.address(), stage.address(), stage.address());
    let backend = Backend::at(stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={before} {stays}\nTARGET={}\n",
        backend.addr
    ));
    let mut client = connect(before);
    let mut server = backend.accept();
    stage.configure(&format!(
        "[web]\nPORT={stays} {after}\nTARGET={}\n",
        backend.addr
    ));
    daemon.reload();
    for front in [stays, after] {
        let _client = connect(front);
        backend.accept();
    }
    until("it is closed", || is_closed(before));
    client.write_all(b"on").unwrap();
    assert_eq!(take(&mut server, 2), b"on");
}

#[test]
fn changed_commands_apply_from_the_next_wake_and_what_runs_keeps_its_stop() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let section = |version: &str, idle: &str| {
        let cue = stage.cue(version);
        format!(
            "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME={idle}\n"
        )
    };
    let daemon = stage.daemon(&section("one", "1h"));
    let client = connect(front);
    let start = stage.called("start");
    assert_eq!(start.argument, "one");
    let backend = Backend::at(back);
    start.succeeds();
    drop((backend.accept(), client));

    stage.configure(&section("two", "1ms"));
    daemon.reload();
    let stop = stage.called("stop");
    assert_eq!(stop.argument, "one");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");

    let client = connect(front);
    let start = stage.called("start");
    assert_eq!(start.argument, "two");
    let backend = Backend::at(back);
    start.succeeds();
    drop((backend.accept(), client));
    let stop = stage.called("stop");
    assert_eq!(stop.argument, "two");
}

#[test]
fn a_broken_file_changes_nothing_and_says_where_it_is_broken() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let good = format!("[web]\nPORT={front}\nTARGET={back}\n");
    let daemon = stage.daemon(&good);
    let mut client = connect(front);
    let mut server = backend.accept();

    stage.configure(&format!(
        "{good}IDEL_TIME=5\n[bad]\nPORT=70000\nTARGET={back}\n"
    ));
    let reload = daemon.ctl(&["reload"]);
    assert_eq!(reload.code, Some(78), "{reload:?}");
    for wrong in [":4: warning: unknown key 'IDEL_TIME'", ":6: error: PORT"] {
        assert!(reload.stderr.contains(wrong), "{wrong} in {reload:?}");
        daemon.says(wrong);
    }
    daemon.says("not reloaded, what ran goes on: the configuration has 1 error(s)");
    client.write_all(b"on").unwrap();
    assert_eq!(take(&mut server, 2), b"on");
    let _next = connect(front);
    backend.accept();
    assert_eq!(daemon.ctl(&["status", "bad"]).code, Some(4));

    std::fs::remove_file(stage.path("sleepingd.conf")).unwrap();
    assert_eq!(daemon.ctl(&["reload"]).code, Some(78));
    let _next = connect(front);
    backend.accept();
    stage.configure(&good);
    assert_eq!(daemon.ctl(&["reload"]).code, Some(0));
}

#[test]
fn a_changed_target_drains_the_old_one_and_stops_it_before_the_new_one_starts() {
    let stage = Stage::new();
    let (front, old_back, new_back) = (stage.address(), stage.address(), stage.address());
    let section = |back, version: &str| {
        let cue = stage.cue(version);
        format!("[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n")
    };
    let daemon = stage.daemon(&section(old_back, "old"));
    let mut open = connect(front);
    let start = stage.called("start");
    let old = Backend::at(old_back);
    start.succeeds();
    let mut served = old.accept();

    stage.configure(&section(new_back, "new"));
    daemon.reload();
    let mut waiting = connect(front);
    until("the new client is held", || {
        daemon.status("web")["held"] == 1
    });
    assert_eq!(daemon.status("web")["draining"][0]["relays"], 1);
    old.nobody_came();
    stage.nothing_called();
    open.write_all(b"on").unwrap();
    assert_eq!(take(&mut served, 2), b"on");

    drop((open, served));
    let stop = stage.called("stop");
    assert_eq!(stop.argument, "old");
    stage.nothing_called();
    drop(old);
    stop.succeeds();
    let start = stage.called("start");
    assert_eq!(start.argument, "new");
    let _new = Server::greeting(new_back, "new");
    start.succeeds();
    assert_eq!(rest(&mut waiting), "new");
}

#[test]
fn what_still_drains_after_a_changed_target_is_cut_at_drain_timeout() {
    let stage = Stage::new();
    let (front, old_back, new_back) = (stage.address(), stage.address(), stage.address());
    let old = Backend::at(old_back);
    let _new = Server::greeting(new_back, "new");
    let section = |back| format!("[web]\nPORT={front}\nTARGET={back}\nDRAIN_TIMEOUT=300ms\n");
    let daemon = stage.daemon(&section(old_back));
    let open = connect(front);
    let served = old.accept();
    stage.configure(&section(new_back));
    daemon.reload();
    assert_eq!(fetch(front), "new");
    daemon.says("web: 1 connection was open at the end of DRAIN_TIMEOUT, cut");
    is_reset(open);
    is_reset(served);
}

#[test]
fn a_section_that_comes_back_waits_until_its_old_self_has_ended() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let other = format!("[other]\nPORT={}\nTARGET={back}\n", stage.address());
    let cue = stage.cue("");
    let section = format!("[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n");
    let daemon = stage.daemon(&format!("{other}{section}"));
    let open = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let served = backend.accept();

    stage.configure(&other);
    daemon.reload();
    stage.configure(&format!("{other}{section}"));
    daemon.reload();
    let mut waiting = connect(front);
    stage.nothing_called();
    drop((open, served));
    let stop = stage.called("stop");
    drop(backend);
    stop.succeeds();
    let start = stage.called("start");
    let _server = Server::greeting(back, "back again");
    start.succeeds();
    assert_eq!(rest(&mut waiting), "back again");
}

#[test]
fn a_section_that_is_renamed_does_not_take_the_dying_backend_for_its_own() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let keys = format!("PORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n");
    let daemon = stage.daemon(&format!("[old]\n{keys}"));
    let open = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    drop((open, backend.accept()));

    stage.configure(&format!("[new]\n{keys}"));
    daemon.reload();
    let stop = stage.called("stop");
    // The old backend still listens.
    let mut waiting = connect(front);
    stage.nothing_called();
    drop(backend);
    stop.succeeds();
    let start = stage.called("start");
    let _server = Server::greeting(back, "the new one");
    start.succeeds();
    assert_eq!(rest(&mut waiting), "the new one");
}

#[test]
fn a_section_that_comes_back_and_goes_again_is_gone() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let other = format!("[other]\nPORT={}\nTARGET={back}\n", stage.address());
    let cue = stage.cue("");
    let section = format!("[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n");
    let daemon = stage.daemon(&format!("{other}{section}"));
    let open = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let served = backend.accept();
    for configuration in [&other, &format!("{other}{section}"), &other] {
        stage.configure(configuration);
        daemon.reload();
    }
    drop((open, served));
    stage.called("stop").succeeds();
    daemon.says("web: asleep");
    until("its port is closed", || is_closed(front));
    assert_eq!(daemon.ctl(&["status", "web"]).code, Some(4));
}

#[test]
fn a_hundred_reloads_under_load_lose_nobody() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let server = Server::greeting(back, "page");
    let section = |turn| format!("[web]\nPORT={front}\nTARGET={back}\nMAX_WAITING={turn}\n");
    let daemon = stage.daemon(&section(1));
    let before = daemon.descriptors_in_use();
    let clients = std::thread::spawn(move || {
        for _ in 0..1000 {
            assert_eq!(fetch(front), "page");
        }
    });
    for turn in 2..102 {
        stage.configure(&section(turn));
        assert_eq!(daemon.ctl(&["reload"]).code, Some(0));
    }
    clients.join().unwrap();
    assert_eq!(server.count(), 1000);
    until("the descriptors are back", || {
        daemon.descriptors_in_use() <= before
    });
}

/// No two sockets can listen on one port of all addresses and of one: the old one must be closed by
/// everybody who has it before the new one is bound.
#[test]
fn a_port_of_all_addresses_becomes_one_of_a_single_address_and_back_in_one_reload() {
    let stage = Stage::new();
    let (port, back) = (wildcard_port(), stage.address());
    let _server = Server::greeting(back, "page");
    let section = |listen: &str| format!("[web]\nPORT={listen}\nTARGET={back}\n");
    let all = section(&port.to_string());
    let one = section(&format!("127.0.0.1:{port}"));
    let daemon = stage.daemon(&all);
    let fetch = || fetch(([127, 0, 0, 1], port).into());
    assert_eq!(fetch(), "page");
    for configuration in [&one, &all, &one] {
        stage.configure(configuration);
        let reload = daemon.ctl(&["reload"]);
        assert_eq!((reload.code, reload.stderr.as_str()), (Some(0), ""));
        assert_eq!(fetch(), "page");
    }
    // And to another section, which is new: the old one is on its way out.
    stage.configure(&all.replace("[web]", "[wiki]"));
    let reload = daemon.ctl(&["reload"]);
    assert_eq!((reload.code, reload.stderr.as_str()), (Some(0), ""));
    assert_eq!(fetch(), "page");
}

#[test]
fn the_path_of_a_removed_section_is_removed() {
    let stage = Stage::new();
    let (path, back) = (stage.path("front.sock"), stage.address());
    let other = format!("[other]\nPORT={}\nTARGET={back}\n", stage.address());
    let web = format!("[web]\nPORT={}\nTARGET={back}\n", path.display());
    let daemon = stage.daemon(&format!("{other}{web}"));
    assert!(path.exists());
    stage.configure(&other);
    daemon.reload();
    assert!(!path.exists(), "nobody listens there any more");
}
