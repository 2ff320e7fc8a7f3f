//! RST: passed on as RST, after every byte that came before it.

use std::{
    io::{ErrorKind, Read, Write},
    mem::MaybeUninit,
    time::Duration,
};

use sleepingd::{
    model::{End, Side},
    relay::Limits,
    sys::clock,
};

use crate::rig::{HANGS, Kind, Peer, Running, Setup, Watch, assert_same, noise, pair, tunings};

const LIMITS: Limits = Limits {
    client_timeout: None,
    half_close: Some(Duration::from_secs(10)),
};

/// The peer that will reset, the one that will see it, and who is to be named.
fn sides(running: Running, by: Side) -> (Peer, Peer, Watch) {
    let (client, backend, relay) = running.split();
    match by {
        Side::Backend => (backend, client, relay),
        _ => (client, backend, relay),
    }
}

#[test]
fn the_other_side_gets_exactly_the_bytes_before_a_reset_and_then_a_reset() {
    for tuning in tunings() {
        for by in [Side::Client, Side::Backend] {
            for len in [0, 1, 60_000, 3 << 20] {
                let setup = Setup {
                    tuning,
                    limits: LIMITS,
                    ..Setup::default()
                };
                let (mut resetter, mut other, relay) = sides(setup.run(), by);
                let sent = noise(len, 11);
                std::thread::scope(|threads| {
                    threads.spawn(|| {
                        resetter.say(&sent);
                        resetter.reset();
                    });
                    let (got, error) = other.hear_until_failure();
                    assert_same(&got, &sent);
                    assert_eq!(error, ErrorKind::ConnectionReset);
                });
                let outcome = relay.outcome();
                assert_eq!(
                    (outcome.end, outcome.ended_by),
                    (End::Reset, by),
                    "{tuning:?} {len}"
                );
            }
        }
    }
}

#[test]
fn a_reset_is_passed_on_within_a_tenth_of_a_second() {
    for by in [Side::Client, Side::Backend] {
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                let (mut resetter, mut other, relay) = sides(Setup::default().run(), by);
                resetter.say(b"bytes");
                assert_eq!(other.hear(5), b"bytes");
                let begun = clock::now();
                resetter.reset();
                assert_eq!(other.hear_until_failure().1, ErrorKind::ConnectionReset);
                let took = clock::now().since(begun);
                relay.outcome();
                took
            })
            .collect();
        times.sort_unstable();
        // The median, for the machine may be busy.
        assert!(times[10] <= Duration::from_millis(100), "{times:?}");
    }
}

/// A server that answers and goes without having read the request: the close is a reset, and the
/// answer stands before it.
#[test]
fn a_side_that_closes_with_bytes_unread_delivers_what_it_said_and_then_a_reset() {
    for tuning in tunings() {
        for by in [Side::Client, Side::Backend] {
            let setup = Setup {
                tuning,
                limits: LIMITS,
                ..Setup::default()
            };
            let (mut closer, mut other, relay) = sides(setup.run(), by);
            other.say(b"never to be read, but to arrive");
            while closer.sock().peek(&mut [MaybeUninit::uninit()]).unwrap() == 0 {}
            closer.say(b"the answer");
            assert_eq!(other.hear(10), b"the answer");
            drop(closer);
            let (rest, error) = other.hear_until_failure();
            assert_eq!((rest, error), (Vec::new(), ErrorKind::ConnectionReset));
            let outcome = relay.outcome();
            assert_eq!((outcome.end, outcome.ended_by), (End::Reset, by));
        }
    }
}

#[test]
fn a_reset_behind_unread_bytes_takes_none_of_them_away() {
    for tuning in tunings() {
        let mut ready = Setup {
            tuning,
            limits: LIMITS,
            ..Setup::default()
        }
        .ready();
        let sent = noise(40_000, 12);
        ready.client.say(&sent);
        let client = std::mem::replace(&mut ready.client, pair(Kind::Tcp).0);
        // All of it is in the relay's socket, and so is the RST, before the relay begins.
        client.reset();
        let (_, mut backend, relay) = ready.run().split();
        let (got, error) = backend.hear_until_failure();
        assert_same(&got, &sent);
        assert_eq!(error, ErrorKind::ConnectionReset);
        assert_eq!(relay.outcome().end, End::Reset);
    }
}

#[test]
fn a_slow_reader_gets_every_byte_before_the_reset() {
    // The bytes wait in a pipe or a buffer of ours, and in our socket's: closing that with RST
    // would throw them away.
    for tuning in tunings() {
        for by in [Side::Client, Side::Backend] {
            let setup = Setup {
                client: Kind::Narrow,
                backend: Kind::Narrow,
                tuning,
                limits: LIMITS,
            };
            let (mut resetter, mut other, relay) = sides(setup.run(), by);
            let sent = noise(6_000, 13);
            resetter.say(&sent);
            resetter.reset();
            let mut got = other.hear(1);
            let (rest, error) = other.hear_until_failure();
            got.extend(rest);
            assert_same(&got, &sent);
            assert_eq!(error, ErrorKind::ConnectionReset);
            assert_eq!(relay.outcome().ended_by, by);
        }
    }
}

#[test]
fn a_reset_is_noticed_while_the_other_side_does_not_read_and_has_a_limit() {
    for tuning in tunings() {
        let limits = Limits {
            client_timeout: None,
            half_close: Some(Duration::from_millis(200)),
        };
        let setup = Setup {
            client: Kind::Narrow,
            backend: Kind::Narrow,
            tuning,
            limits,
        };
        let (mut client, mut backend, relay) = setup.run().split();
        let sent = client.fill();
        client.abort();
        let outcome = relay.outcome();
        assert_eq!(
            (outcome.end, outcome.ended_by),
            (End::Reset, Side::Client),
            "{tuning:?}"
        );
        let (got, error) = backend.hear_until_failure();
        assert_eq!(error, ErrorKind::ConnectionReset);
        assert_same(&got, &sent[..got.len()]);
    }
}

#[test]
fn a_relay_whose_sides_both_reset_is_over_though_neither_took_all() {
    // Nobody is left to acknowledge anything, and the kernel says so once.
    for tuning in tunings() {
        for _ in 0..2 {
            let setup = Setup {
                client: Kind::Narrow,
                backend: Kind::Narrow,
                tuning,
                limits: LIMITS,
            };
            let mut ready = setup.ready();
            ready.client.say(&noise(3_000, 16));
            ready.backend.say(&noise(3_000, 17));
            let (mut client, mut backend, relay) = ready.run().split();
            std::thread::scope(|threads| {
                threads.spawn(|| client.fill());
                backend.fill();
            });
            let aborted = std::thread::spawn(move || client.abort());
            backend.abort();
            aborted.join().unwrap();
            let outcome = relay.outcome();
            assert_eq!(outcome.end, End::Reset);
            assert!(outcome.relayed < Duration::from_secs(5), "{outcome:?}");
        }
    }
}

#[test]
fn a_client_that_resets_while_it_is_sent_to_resets_the_backend() {
    for tuning in tunings() {
        let setup = Setup {
            tuning,
            limits: LIMITS,
            ..Setup::default()
        };
        let (mut client, mut backend, relay) = setup.run().split();
        let sender = std::thread::spawn(move || {
            let bytes = noise(1 << 20, 14);
            loop {
                if let Err(error) = backend.write_all(&bytes) {
                    return error.kind();
                }
            }
        });
        client.hear(3 << 20);
        client.abort();
        let error = sender.join().unwrap();
        assert!(
            matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error:?}"
        );
        let outcome = relay.outcome();
        assert_eq!((outcome.end, outcome.ended_by), (End::Reset, Side::Client));
        assert!(outcome.to_client >= 3 << 20);
    }
}

#[test]
fn a_request_sent_before_the_client_could_not_be_written_to_still_arrives() {
    // The failure is found by a write to the client; what the client said must not go with it.
    for tuning in tunings() {
        let mut ready = Setup {
            tuning,
            limits: LIMITS,
            ..Setup::default()
        }
        .ready();
        ready.client.say(b"last words");
        ready.backend.say(b"never to be read");
        let client = std::mem::replace(&mut ready.client, pair(Kind::Tcp).0);
        client.reset();
        let (_, mut backend, relay) = ready.run().split();
        let (got, error) = backend.hear_until_failure();
        assert_eq!(got, b"last words");
        assert_eq!(error, ErrorKind::ConnectionReset);
        assert_eq!(relay.outcome().ended_by, Side::Client);
    }
}

#[test]
fn a_reset_after_fin_is_noticed_though_nobody_sends() {
    for tuning in tunings() {
        let setup = Setup {
            tuning,
            limits: LIMITS,
            ..Setup::default()
        };
        let (mut client, mut backend, relay) = setup.run().split();
        client.say(b"request");
        client.end();
        // FIN came first, so it is a clean end, and the request is complete.
        assert_eq!(backend.hear_all(), b"request");
        client.reset();
        let outcome = relay.outcome();
        assert_eq!((outcome.end, outcome.ended_by), (End::Reset, Side::Client));
        // And then the backend's connection is dead too: there is nobody to answer to.
        while backend.write_all(b"reply").is_ok() {}
    }
}

#[test]
fn a_unix_peer_that_leaves_bytes_unread_resets_the_other() {
    for tuning in tunings() {
        let setup = Setup {
            backend: Kind::Unix,
            tuning,
            limits: LIMITS,
            ..Setup::default()
        };
        let (mut client, mut backend, relay) = setup.run().split();
        client.say(b"a");
        backend.hear(1);
        backend.say(b"partial");
        client.say(&noise(100_000, 15));
        // What is left unread makes the kernel turn the close into ECONNRESET.
        backend.hear(10);
        drop(backend);
        let (got, error) = client.hear_until_failure();
        assert_eq!(got, b"partial");
        assert_eq!(error, ErrorKind::ConnectionReset);
        assert_eq!(relay.outcome().ended_by, Side::Backend);
    }
}

#[test]
fn a_reply_that_ended_before_its_reset_is_complete() {
    // FIN, then RST, both before we look: what finds out is our own FIN, which says only that
    // the connection is dead. A reset would tell the client that the reply is cut off.
    for tuning in tunings() {
        let mut ready = Setup {
            tuning,
            limits: LIMITS,
            ..Setup::default()
        }
        .ready();
        ready.client.end();
        ready.backend.say(b"reply");
        ready.backend.end();
        let backend = std::mem::replace(&mut ready.backend, pair(Kind::Tcp).0);
        backend.reset();
        let (mut client, _, relay) = ready.run().split();
        assert_eq!(client.hear_all(), b"reply");
        let outcome = relay.outcome();
        assert_eq!((outcome.end, outcome.ended_by), (End::Reset, Side::Backend));
    }
}

/// The state of a socket of this process, as `/proc/net/tcp` has it, by its two ports.
fn tcp_state(local: u16, peer: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = [format!(":{local:04X}"), format!(":{peer:04X}")];
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = ends
            .iter()
            .all(|end| fields.next().is_some_and(|at| at.ends_with(end)));
        found.then(|| fields.next().map(str::to_owned)).flatten()
    })
}

#[test]
fn a_reply_that_is_still_on_its_way_survives_the_reset_behind_it() {
    // Both FINs have gone by the client's socket, which poll(2) then calls hung up; it is alive,
    // and has not acknowledged all. The rest of the upload dies with the backend.
    const CLOSING: &str = "0B";
    for tuning in tunings() {
        let setup = Setup {
            client: Kind::Narrow,
            backend: Kind::Narrow,
            tuning,
            // Longer than windows so narrow take to drain on a busy machine.
            limits: Limits {
                half_close: Some(3 * HANGS),
                ..LIMITS
            },
        };
        let (mut client, mut backend, relay) = setup.run().split();
        client.fill();
        client.end();
        let reply = noise(5_000, 17);
        backend.say(&reply);
        backend.end();
        let port =
            |addr: std::io::Result<socket2::SockAddr>| addr.unwrap().as_socket().unwrap().port();
        let own = port(client.sock().local_addr());
        let relays = port(client.sock().peer_addr());
        // The client's FIN is behind what it has sent.
        let until = clock::now() + HANGS;
        while tcp_state(relays, own).as_deref() != Some(CLOSING) {
            assert!(clock::now() < until, "its FIN does not come");
            backend.hear(100);
        }
        backend.reset();
        // Time to do wrong: nothing tells that the relay has heard of it and still waits.
        std::thread::park_timeout(Duration::from_millis(50));
        let mut got = client.hear(1);
        // Whether FIN or RST comes after it: both have been said.
        let _ = client.read_to_end(&mut got);
        assert_same(&got, &reply);
        assert_eq!(relay.outcome().ended_by, Side::Backend);
    }
}

/// Waits until both FINs have gone by the relay's socket to `peer`, whose own came first, and who
/// has not acknowledged all.
fn wait_for_last_ack(peer: &Peer) {
    const LAST_ACK: &str = "09";
    // Where the two crossed each other.
    const CLOSING: &str = "0B";
    let port = |addr: std::io::Result<socket2::SockAddr>| addr.unwrap().as_socket().unwrap().port();
    let own = port(peer.sock().local_addr());
    let relays = port(peer.sock().peer_addr());
    let until = clock::now() + HANGS;
    loop {
        match tcp_state(relays, own).as_deref() {
            Some(LAST_ACK | CLOSING) => return,
            Some(state) => assert!(clock::now() < until, "it stays in state {state}"),
            None => panic!("the relay has ended"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_reset_behind_both_fins_is_noticed_though_what_came_before_it_is_stuck() {
    // Both FINs have gone by the resetter's socket, so that "closed" is nothing new of it; its
    // bytes wait for a peer that does not read, and what it was sent waits for itself.
    let limits = Limits {
        client_timeout: None,
        half_close: Some(Duration::from_secs(4)),
    };
    let run = |by, tuning| {
        let (client, backend) = match by {
            Side::Client => (Kind::Reluctant, Kind::Narrow),
            _ => (Kind::Narrow, Kind::Reluctant),
        };
        let setup = Setup {
            client,
            backend,
            tuning,
            limits,
        };
        let (mut resetter, mut other, relay) = sides(setup.run(), by);
        // More than the other one and the relay's socket to it take, and less than all there is.
        resetter.say(&noise(100_000, 18));
        resetter.end();
        // More than the resetter's receive buffer, which is twice as large as asked for.
        other.say(&noise(8_500, 19));
        other.end();
        wait_for_last_ack(&resetter);
        resetter.abort();
        let outcome = relay.outcome();
        assert_eq!((outcome.end, outcome.ended_by), (End::Reset, by));
        assert!(outcome.to_backend.max(outcome.to_client) < 100_000);
    };
    std::thread::scope(|threads| {
        for by in [Side::Client, Side::Backend] {
            for tuning in tunings() {
                threads.spawn(move || run(by, tuning));
            }
        }
    });
}
