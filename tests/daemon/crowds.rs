//! Very many at once: who only occupies a place gives it back, or never gets one.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Server, Stage, connect, connect_from, in_state, is_reset, knock_from, may_open, rest,
    take, until,
};

const CLOSE_WAIT: &str = "08";

#[test]
fn half_closed_relays_that_stay_silent_end_in_time_and_those_that_trickle_go_on() {
    const LIMIT: Duration = Duration::from_secs(3);
    if !may_open(8_000) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nHALF_CLOSE_TIMEOUT=3s\n"
    ));
    let before = daemon.descriptors_in_use();
    let open = || (connect(front), backend.accept());
    let mut trickling: Vec<_> = (0..100).map(|_| open()).collect();
    let silent: Vec<_> = (0..1000).map(|_| open()).collect();
    for (client, _) in &trickling {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let begun = Instant::now();
    for (number, (client, server)) in silent.iter().enumerate() {
        let ends = if number % 2 == 0 { client } else { server };
        ends.shutdown(Shutdown::Write).unwrap();
    }
    let ended = Instant::now();
    // A byte now and then, for three times the limit.
    let (mut first, mut last, mut longest) = (None, None, Duration::ZERO);
    while begun.elapsed() < LIMIT * 3 {
        let turn = Instant::now();
        thread::sleep(Duration::from_millis(250));
        match daemon.said("half-close-timeout by the daemon") {
            0 => {}
            1000 if last.is_none() => last = Some(ended.elapsed()),
            _ if first.is_none() => first = Some(begun.elapsed()),
            _ => {}
        }
        for (client, server) in &mut trickling {
            server.write_all(b".").unwrap();
            assert_eq!(take(client, 1), b".");
        }
        longest = longest.max(turn.elapsed());
    }
    let last = last.expect("all silent ones are ended");
    assert!(first.unwrap_or(last) >= LIMIT, "{first:?}");
    // A second, and as long as we did not look.
    let late = last.saturating_sub(LIMIT + longest);
    assert!(late < Duration::from_secs(1), "{last:?}, {longest:?}");
    for (mut client, mut server) in silent {
        // Whoever had sent FIN, or had got it, sees a reset now.
        let ends = [client.read(&mut [0]), server.read(&mut [0])];
        assert!(ends.iter().any(Result::is_err), "{ends:?}");
    }
    assert_eq!(in_state(front, CLOSE_WAIT), 100, "those that trickle");
    for (mut client, server) in trickling {
        drop(server);
        assert_eq!(rest(&mut client), "");
    }
    until("nothing is left", || {
        in_state(front, CLOSE_WAIT) == 0 && daemon.descriptors_in_use() <= before
    });
    assert_eq!(daemon.counters()["outcomes"]["finished"], 100);
}

#[test]
fn a_source_with_ten_thousand_silent_clients_gets_its_share_and_others_are_served() {
    const SHARE: usize = 100;
    if !may_open(15_000) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nMAX_CONNECTIONS_PER_SOURCE={SHARE}\n"
    ));
    let before = daemon.descriptors_in_use();
    let (mut crowd, mut beyond) = (Vec::<TcpStream>::new(), Vec::<TcpStream>::new());
    let mut servers = Vec::new();
    for number in 0..10_000 {
        if number < SHARE {
            crowd.push(connect_from([127, 0, 0, 2], front));
            servers.push(backend.accept());
        } else {
            beyond.extend(knock_from([127, 0, 0, 2], front));
        }
        // As many as are turned away: others come in between.
        if number % 1000 == 999 {
            let mut other = connect_from([127, 0, 0, 3], front);
            let mut server = backend.accept();
            server.write_all(b"page").unwrap();
            drop(server);
            assert_eq!(rest(&mut other), "page");
        }
    }
    beyond.into_iter().for_each(is_reset);
    // Something of the beginning may have been counted that is closed by now.
    assert!(daemon.descriptors_in_use() <= before + 2 * SHARE);
    let counters = daemon.counters();
    assert_eq!(counters["outcomes"]["too_many_from_source"], 9_900);
    assert_eq!(counters["outcomes"]["finished"], 10);
    // And none of its share has suffered.
    for (client, server) in crowd.iter_mut().zip(&mut servers) {
        client.write_all(b"?").unwrap();
        assert_eq!(take(server, 1), b"?");
    }
}

#[test]
fn an_idle_relay_has_two_descriptors_no_pipe_and_next_to_no_memory() {
    const RELAYS: usize = 2_000;
    const BULK: usize = 2 << 20;
    if !may_open(12_000) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let mut pairs: Vec<_> = (0..10)
        .map(|_| (connect(front), backend.accept()))
        .collect();
    let bytes = vec![7; BULK];
    let mut transfer = |(client, server): &mut (TcpStream, TcpStream)| {
        thread::scope(|threads| {
            threads.spawn(|| client.write_all(&bytes).unwrap());
            take(server, BULK);
        });
    };
    pairs.iter_mut().for_each(&mut transfer);
    assert!(daemon.counters()["bytes_spliced"].as_u64().unwrap() > 0);
    let (descriptors, memory) = (daemon.descriptors_in_use(), daemon.memory());
    let pipes = daemon.counters()["pipes_open"].as_u64().unwrap();

    let mut idle: Vec<_> = (0..RELAYS)
        .map(|_| (connect(front), backend.accept()))
        .collect();
    idle.iter_mut().step_by(20).for_each(&mut transfer);
    let each = (daemon.memory() - memory) / RELAYS as u64;
    assert!(each <= 4096, "{each} bytes for each");
    // What was spliced has left nothing behind but a few spare pipes, of the process.
    let spares = daemon.counters()["pipes_open"].as_u64().unwrap();
    assert!(spares <= 16, "{spares} pipes");
    let pipes = usize::try_from(spares - pipes).unwrap();
    assert_eq!(
        daemon.descriptors_in_use(),
        descriptors + 2 * RELAYS + 2 * pipes
    );
}

#[test]
fn a_client_that_reads_nothing_for_client_timeout_does_not_keep_it_awake() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n\
         IDLE_TIME=100ms\nCLIENT_TIMEOUT=1s\n"
    ));
    let client = connect(front);
    let start = stage.called("start");
    let server = Server::with(back, |mut stream| {
        // More than everything on the way takes, to somebody who never reads.
        let failed = stream.write_all(&vec![7; 64 << 20]);
        assert!(failed.is_err(), "it was all taken");
    });
    start.succeeds();
    // Its window is closed; no FIN, no reset comes from there.
    let stop = stage.called("stop");
    daemon.says("idle-timeout by the daemon");
    drop(server);
    stop.succeeds();
    daemon.says("web: asleep");
    drop(client);
}
