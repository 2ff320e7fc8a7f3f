//! FIN: passed on as FIN, after the last byte, and the other direction goes on.

use sleepingd::model::{End, Side};

use crate::rig::{Kind, Setup, assert_same, noise, tunings};

const KINDS: [(Kind, Kind); 5] = [
    (Kind::Tcp, Kind::Tcp),
    (Kind::Narrow, Kind::Narrow),
    (Kind::Unix, Kind::Unix),
    (Kind::Tcp, Kind::Unix),
    (Kind::Unix, Kind::Tcp),
];

fn setups() -> impl Iterator<Item = Setup> {
    KINDS.into_iter().flat_map(|(client, backend)| {
        tunings().map(|tuning| Setup {
            client,
            backend,
            tuning,
            ..Setup::default()
        })
    })
}

#[test]
fn a_client_that_ends_first_gets_the_whole_reply() {
    let (request, reply) = (noise(50_000, 1), noise(100_000, 2));
    for setup in setups() {
        let (mut client, mut backend, relay) = setup.run().split();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                client.say(&request);
                client.end();
                assert_same(&client.hear_all(), &reply);
            });
            // The reply begins only when the request has ended.
            assert_same(&backend.hear_all(), &request);
            backend.say(&reply);
            backend.end();
        });
        let outcome = relay.outcome();
        assert_eq!(
            (outcome.end, outcome.ended_by),
            (End::Finished, Side::Client),
            "{setup:?}"
        );
        assert_eq!(
            (outcome.to_backend, outcome.to_client),
            (50_000, 100_000),
            "{setup:?}"
        );
    }
}

#[test]
fn a_backend_that_ends_first_gets_the_whole_upload() {
    let (banner, upload) = (noise(3_000, 3), noise(100_000, 4));
    for setup in setups() {
        let (mut client, mut backend, relay) = setup.run().split();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                backend.say(&banner);
                backend.end();
                assert_same(&backend.hear_all(), &upload);
            });
            assert_same(&client.hear_all(), &banner);
            client.say(&upload);
            client.end();
        });
        let outcome = relay.outcome();
        assert_eq!(
            (outcome.end, outcome.ended_by),
            (End::Finished, Side::Backend),
            "{setup:?}"
        );
    }
}

#[test]
fn both_may_end_at_once() {
    let (up, down) = (noise(200_000, 5), noise(300_000, 6));
    for setup in setups() {
        let (mut client, mut backend, relay) = setup.run().split();
        std::thread::scope(|threads| {
            let (mut client_out, mut backend_out) = (client.try_clone(), backend.try_clone());
            threads.spawn({
                let up = &up;
                move || {
                    client_out.say(up);
                    client_out.end();
                }
            });
            threads.spawn({
                let down = &down;
                move || {
                    backend_out.say(down);
                    backend_out.end();
                }
            });
            threads.spawn(|| assert_same(&backend.hear_all(), &up));
            assert_same(&client.hear_all(), &down);
        });
        assert_eq!(relay.outcome().end, End::Finished, "{setup:?}");
    }
}

#[test]
fn a_request_that_ended_before_the_relay_began_is_served() {
    for setup in setups() {
        let mut ready = setup.ready();
        ready.client.say(b"request");
        ready.client.end();
        let (mut client, mut backend, relay) = ready.run().split();
        assert_eq!(backend.hear_all(), b"request");
        backend.say(b"reply");
        drop(backend);
        assert_eq!(client.hear_all(), b"reply");
        assert_eq!(relay.outcome().end, End::Finished);
    }
}

#[test]
fn fin_that_comes_with_the_last_byte_is_no_reset() {
    // FIN, data and hang-up in one event once made a relay reset a clean connection.
    for setup in setups() {
        for _ in 0..20 {
            let (mut client, mut backend, relay) = setup.run().split();
            client.say(b"question");
            assert_eq!(backend.hear(8), b"question");
            backend.say(b"answer");
            drop(backend);
            assert_eq!(client.hear_all(), b"answer");
            drop(client);
            assert_eq!(relay.outcome().end, End::Finished);
        }
    }
}

#[test]
fn an_empty_connection_finishes() {
    let (client, mut backend, relay) = Setup::default().run().split();
    drop(client);
    assert_eq!(backend.hear_all(), b"");
    drop(backend);
    let outcome = relay.outcome();
    assert_eq!(
        (outcome.end, outcome.to_backend, outcome.to_client),
        (End::Finished, 0, 0)
    );
}
