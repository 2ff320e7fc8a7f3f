//! Who knows where the backend is, and every kind of address.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::{UnixListener, UnixStream},
};

use crate::harness::{
    Backend, PATIENCE, Server, Stage, connect, fetch, is_turned_away, rest, until, wildcard_port,
};

#[test]
fn a_target_that_is_up_is_relayed_to_and_start_is_not_run() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    assert_eq!(fetch(front), "page");
    stage.nothing_called();
    daemon.says("web: already runs, at ");
}

#[test]
fn a_target_alone_is_a_forwarder_that_resets_at_once_while_nobody_is_there() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    is_turned_away(front);
    daemon.says("there is no START_CMD; the client that waited is reset");
    let server = Server::greeting(back, "page");
    assert_eq!(fetch(front), "page");
    drop(server);
    // It was up; that it went away is found out by the next client.
    is_turned_away(front);
    let _server = Server::greeting(back, "again");
    assert_eq!(fetch(front), "again");
}

#[test]
fn with_check_start_runs_when_check_fails_and_its_destination_is_kept() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD={cue}\nSTART_CMD={cue}\n"
    ));
    // The look at the start of the daemon.
    stage.called("check").fails();
    let mut first = connect(front);
    stage.called("check").fails();
    let start = stage.called("start");
    let server = Server::greeting(back, "page");
    start.says(back);
    assert_eq!(rest(&mut first), "page");
    // Not for every connection of an awake service.
    assert_eq!(fetch(front), "page");
    assert_eq!(daemon.status("web")["destinations"][0], back.to_string());
    stage.nothing_called();

    // It crashed: the next client finds out, and START may say another place.
    drop(server);
    let elsewhere = stage.address();
    let mut next = connect(front);
    stage.called("check").fails();
    let start = stage.called("start");
    let _server = Server::greeting(elsewhere, "moved");
    start.says(elsewhere);
    assert_eq!(rest(&mut next), "moved");
    daemon.says("does not answer any more");
}

#[test]
fn a_check_that_says_where_it_is_needs_no_start() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD={cue}\nSTART_CMD={cue}\n"
    ));
    stage.called("check").says(back);
    daemon.says("web: already runs, at ");
    assert_eq!(fetch(front), "page");
    stage.nothing_called();
}

#[test]
fn a_start_that_decides_for_each_connection_can_alternate_between_instances() {
    let stage = Stage::new();
    let front = stage.address();
    let (left, right) = (stage.address(), stage.address());
    let _servers = [
        Server::greeting(left, "left"),
        Server::greeting(right, "right"),
    ];
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=100ms\n"
    ));
    for _ in 0..2 {
        for (addr, page) in [(left, "left"), (right, "right")] {
            let mut client = connect(front);
            let start = stage.called("start");
            assert_eq!(start.remote, client.local_addr().unwrap().to_string());
            start.says(addr);
            assert_eq!(rest(&mut client), page);
        }
    }
    stage.called("stop").succeeds();
    daemon.says("web: asleep");
}

#[test]
fn sixteen_starts_run_at_most_and_the_other_clients_are_held() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut clients: Vec<_> = (0..40).map(|_| connect(front)).collect();
    let mut starts: Vec<_> = (0..16).map(|_| stage.called("start")).collect();
    until("all are held", || daemon.status("web")["held"] == 40);
    stage.nothing_called();
    // One ends, one begins.
    for _ in 16..40 {
        starts.pop().unwrap().says(back);
        starts.push(stage.called("start"));
        stage.nothing_called();
    }
    for start in starts {
        start.says(back);
    }
    for client in &mut clients {
        assert_eq!(rest(client), "page");
    }
}

#[test]
fn unix_sockets_are_listened_on_and_connected_to() {
    let stage = Stage::new();
    let (front, back) = (stage.path("front.sock"), stage.path("back.sock"));
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={}\nTARGET={}\nSTART_CMD={}\n",
        front.display(),
        back.display(),
        stage.cue("")
    ));
    let mut client = UnixStream::connect(&front).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = stage.called("start");
    assert_eq!(
        start.remote, ":",
        "nothing is made up for a client without an address"
    );
    let listener = UnixListener::bind(&back).unwrap();
    start.succeeds();
    let (mut backend, _) = listener.accept().unwrap();
    client.write_all(b"ping").unwrap();
    let mut word = [0; 4];
    backend.read_exact(&mut word).unwrap();
    backend.write_all(b"pong").unwrap();
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"pong");
    drop((client, backend));
    assert_eq!(daemon.stop(), Some(0));
    assert!(!front.exists(), "the path that the daemon made is gone");
}

#[test]
fn ipv6_is_listened_on_and_connected_to() {
    let stage = Stage::new();
    let (front, back) = (wildcard_port(), wildcard_port());
    let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT=[::1]:{front}\nCHECK_CMD=exit 1\nSTART_CMD={cue}\n"
    ));
    let mut client = connect(v6(front));
    let start = stage.called("start");
    assert_eq!(
        start.remote,
        format!("::1:{}", client.local_addr().unwrap().port())
    );
    let _server = Server::greeting(v6(back), "page");
    start.does(&format!("echo ::1 {back}"));
    assert_eq!(rest(&mut client), "page");
    daemon.says(&format!("at [::1]:{back}"));
}

#[test]
fn a_bare_port_serves_ipv4_and_ipv6_and_several_ports_serve_one_backend() {
    let stage = Stage::new();
    let (bare, colon) = (wildcard_port(), wildcard_port());
    let (third, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={bare} :{colon} {third}\nTARGET={back}\n"
    ));
    assert_eq!(fetch(third), "page");
    for port in [bare, colon] {
        assert_eq!(fetch((Ipv4Addr::LOCALHOST, port).into()), "page");
        assert_eq!(fetch((Ipv6Addr::LOCALHOST, port).into()), "page");
    }
}

#[test]
fn each_balance_does_as_it_says_and_the_next_is_tried_when_one_refuses() {
    let stage = Stage::new();
    let fronts: Vec<_> = (0..4).map(|_| stage.address()).collect();
    let backs: Vec<_> = (0..3).map(|_| stage.address()).collect();
    let policies = ["first", "roundrobin", "leastconn", "random"];
    let mut configuration = format!("TARGET={} {} {}\n", backs[0], backs[1], backs[2]);
    for (front, policy) in fronts.iter().zip(policies) {
        configuration += &format!("[{policy}]\nPORT={front}\nBALANCE={policy}\n");
    }
    let mut servers = vec![
        Server::greeting(backs[0], "a"),
        Server::greeting(backs[1], "b"),
        Server::greeting(backs[2], "c"),
    ];
    let _daemon = stage.daemon(&configuration);
    let pages =
        |front: SocketAddr, count| -> Vec<String> { (0..count).map(|_| fetch(front)).collect() };
    assert_eq!(pages(fronts[0], 3), ["a", "a", "a"]);
    let turns = pages(fronts[1], 6);
    assert_eq!(turns[..3], turns[3..]);
    assert_eq!(turns.iter().collect::<BTreeSet<_>>().len(), 3);
    let lottery: BTreeSet<String> = pages(fronts[3], 60).into_iter().collect();
    assert_eq!(lottery.len(), 3, "sixty draws hit all three");

    // Two of three are down; whoever is drawn first, the client is served.
    servers.truncate(1);
    for front in &fronts {
        assert_eq!(pages(*front, 5), ["a"; 5]);
    }
}

#[test]
fn leastconn_prefers_the_destination_with_the_fewest_open_connections() {
    let stage = Stage::new();
    let front = stage.address();
    let backends = [Backend::at(stage.address()), Backend::at(stage.address())];
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nBALANCE=leastconn\nTARGET={} {}\n",
        backends[0].addr, backends[1].addr
    ));
    let clients: Vec<_> = (1..=4)
        .map(|count| {
            let client = connect(front);
            until("it is relayed", || daemon.status("web")["relays"] == count);
            client
        })
        .collect();
    // Two each: neither accept waits.
    for backend in &backends {
        drop((backend.accept(), backend.accept()));
        backend.nobody_came();
    }
    drop(clients);
}

#[test]
fn a_start_may_name_several_destinations() {
    let stage = Stage::new();
    let front = stage.address();
    let (first, second) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD=exit 1\nBALANCE=first\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(second, "page");
    start.does(&format!(
        "echo {} {}",
        Stage::pair(first),
        Stage::pair(second)
    ));
    assert_eq!(rest(&mut client), "page");
    let said = daemon.says("woken by");
    assert!(said.contains(&format!("at {first} {second}")), "{said}");
}

#[test]
fn a_server_that_serves_one_connection_and_ends_gives_it_to_the_client() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    for _ in 0..3 {
        let mut client = connect(front);
        // As `nc -l -q1` does; whoever probes it by connecting has used it up.
        let once = "import socket,sys; l=socket.create_server((sys.argv[1],int(sys.argv[2]))); \
                    c,_=l.accept(); l.close(); c.sendall(b\"once\")";
        let pair = Stage::pair(back);
        let server = stage.called("start").does(&format!(
            "/usr/bin/python3 -Sc '{once}' {pair} & echo {pair}"
        ));
        assert_eq!(rest(&mut client), "once");
        server.ends();
    }
}
