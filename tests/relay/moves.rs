//! How bytes are moved: streams spliced, messages copied, and what breaks the rules about reads.

use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use sleepingd::{model::End, relay::counters};

use crate::rig::{Kind, Peer, Setup, assert_same, noise, tunings};

#[test]
fn a_stream_is_spliced() {
    // A relay that silently copies is right, and slow: only the counters tell.
    for backend in [Kind::Tcp, Kind::Unix] {
        let (mut client, mut backend, relay) = Setup {
            backend,
            ..Setup::default()
        }
        .run()
        .split();
        let before = counters();
        let bytes = noise(32 << 20, 31);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                client.say(&bytes);
                client.end();
            });
            assert_same(&backend.hear_all(), &bytes);
        });
        drop((client, backend));
        assert_eq!(relay.outcome().end, End::Finished);
        let spliced = counters().spliced - before.spliced;
        // Not all of it: a writer that the machine keeps waiting is no stream for a while.
        assert!(spliced > 1 << 20, "{spliced} bytes were spliced");
    }
}

#[test]
fn activity_tells_how_far_a_relay_is_while_it_runs() {
    let (mut client, mut backend, relay) = Setup::default().run().split();
    let made = relay.activity.last_byte();
    client.say(b"12345");
    backend.hear(5);
    backend.say(b"123");
    client.hear(3);
    client.end();
    backend.hear_all();
    drop(backend);
    client.hear_all();
    let activity = relay.activity.clone();
    relay.outcome();
    assert_eq!((activity.to_backend(), activity.to_client()), (5, 3));
    assert!(activity.last_byte() > made);
}

#[test]
fn urgent_data_stays_in_the_stream_and_stops_nothing() {
    // A read stops short at it, and a splice cannot pass it.
    for tuning in tunings() {
        let (mut client, mut backend, relay) = Setup {
            tuning,
            ..Setup::default()
        }
        .run()
        .split();
        let bytes = noise(150_000, 32);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..5 {
                    client.say(&bytes);
                    assert_eq!(client.sock().send_out_of_band(b"!").unwrap(), 1);
                    client.say(b"after");
                }
            });
            for _ in 0..5 {
                assert_same(&backend.hear(bytes.len()), &bytes);
                assert_eq!(backend.hear(6), b"!after");
            }
        });
        drop((client, backend));
        assert_eq!(relay.outcome().end, End::Finished);
    }
}

#[test]
fn passed_descriptors_do_not_hide_what_comes_after_them() {
    // A read of a unix socket stops at them though there is more, so its being short proves
    // nothing. The descriptors themselves are not passed on.
    for tuning in tunings() {
        let setup = Setup {
            client: Kind::Unix,
            tuning,
            ..Setup::default()
        };
        let ready = setup.ready();
        let Peer::Unix(client) = &ready.client else {
            unreachable!()
        };
        let fds = [client.as_raw_fd()];
        for word in [b"one", b"two", b"six"] {
            let bytes = [std::io::IoSlice::new(word)];
            let rights = [ControlMessage::ScmRights(&fds)];
            let flags = MsgFlags::empty();
            sendmsg::<()>(client.as_raw_fd(), &bytes, &rights, flags, None).unwrap();
        }
        let (client, mut backend, relay) = ready.run().split();
        assert_eq!(backend.hear(9), b"onetwosix");
        drop(client);
        drop(backend);
        relay.outcome();
    }
}
