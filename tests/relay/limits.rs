//! Time limits and drain.

use std::{io::ErrorKind, sync::mpsc, time::Duration};

use sleepingd::{
    model::{End, Side},
    relay::Limits,
};

use crate::rig::{Setup, noise};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn drain_ends_a_relay_at_once_and_both_sides_see_a_reset() {
    let mut running = Setup::default().run();
    running.client.say(b"x");
    running.backend.hear(1);
    let (mut client, mut backend, outcome) = running.drain();
    assert_eq!(client.hear_until_failure().1, ErrorKind::ConnectionReset);
    assert_eq!(backend.hear_until_failure().1, ErrorKind::ConnectionReset);
    assert_eq!(
        (outcome.end, outcome.ended_by),
        (End::DrainTimeout, Side::Daemon)
    );
}

#[test]
fn a_silent_connection_ends_after_client_timeout() {
    let limits = Limits {
        client_timeout: Some(SHORT),
        half_close: None,
    };
    let (mut client, mut backend, relay) = Setup {
        limits,
        ..Setup::default()
    }
    .run()
    .split();
    client.say(b"hello");
    backend.hear(5);
    assert_eq!(client.hear_until_failure().1, ErrorKind::ConnectionReset);
    assert_eq!(backend.hear_until_failure().1, ErrorKind::ConnectionReset);
    let outcome = relay.outcome();
    assert_eq!(
        (outcome.end, outcome.ended_by),
        (End::IdleTimeout, Side::Daemon)
    );
    assert!(outcome.relayed >= SHORT, "{outcome:?}");
}

#[test]
fn a_half_closed_connection_that_stays_silent_ends() {
    for client_first in [true, false] {
        let limits = Limits {
            client_timeout: None,
            half_close: Some(SHORT),
        };
        let (client, backend, relay) = Setup {
            limits,
            ..Setup::default()
        }
        .run()
        .split();
        let (ended, mut silent) = if client_first {
            (client, backend)
        } else {
            (backend, client)
        };
        ended.end();
        assert_eq!(silent.hear(0), b"");
        let outcome = relay.outcome();
        assert_eq!(
            (outcome.end, outcome.ended_by),
            (End::HalfCloseTimeout, Side::Daemon)
        );
        assert!(outcome.relayed >= SHORT, "{outcome:?}");
    }
}

#[test]
fn an_open_connection_knows_no_half_close_timeout() {
    let limits = Limits {
        client_timeout: None,
        half_close: Some(SHORT),
    };
    let (mut client, mut backend, relay) = Setup {
        limits,
        ..Setup::default()
    }
    .run()
    .split();
    pause(SHORT * 3);
    client.say(b"still there?");
    assert_eq!(backend.hear(12), b"still there?");
    // The silence before FIN does not count: there is a whole limit from here on.
    pause(SHORT * 3);
    client.end();
    assert_eq!(backend.hear_all(), b"");
    backend.say(b"yes");
    drop(backend);
    assert_eq!(client.hear_all(), b"yes");
    assert_eq!(relay.outcome().end, End::Finished);
}

#[test]
fn every_byte_gives_a_half_closed_connection_new_time() {
    let limit = Duration::from_millis(1000);
    let limits = Limits {
        client_timeout: Some(limit * 5),
        half_close: Some(limit),
    };
    let (mut client, mut backend, relay) = Setup {
        limits,
        ..Setup::default()
    }
    .run()
    .split();
    client.end();
    assert_eq!(backend.hear_all(), b"");
    for _ in 0..15 {
        pause(SHORT);
        backend.say(b".");
        assert_eq!(client.hear(1), b".");
    }
    drop(backend);
    let outcome = relay.outcome();
    assert_eq!(outcome.end, End::Finished);
    assert!(
        outcome.relayed > limit,
        "the test proves nothing: {outcome:?}"
    );
}

#[test]
fn the_time_a_client_was_held_is_not_idle_time() {
    let limits = Limits {
        client_timeout: Some(SHORT * 2),
        half_close: None,
    };
    let ready = Setup {
        limits,
        ..Setup::default()
    }
    .ready();
    pause(SHORT * 4);
    let (mut client, mut backend, relay) = ready.run().split();
    client.say(&noise(10, 41));
    backend.hear(10);
    drop((client, backend));
    assert_eq!(relay.outcome().end, End::Finished);
}

/// Lets time pass, where time is what is tested.
fn pause(time: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(time).is_err());
}
