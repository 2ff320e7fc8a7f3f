//! Slow readers: every byte gets there, in order, and no more is read than fits.

use std::{
    io::{Read, Write},
    time::Duration,
};

use sleepingd::{model::End, sys::clock};

use crate::rig::{Kind, SPLICE, Setup, assert_same, noise, pair, tunings};

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    for tuning in tunings() {
        let setup = Setup {
            client: Kind::Narrow,
            backend: Kind::Narrow,
            tuning,
            ..Setup::default()
        };
        let (mut client, mut backend, relay) = setup.run().split();
        let sent = client.fill();
        // Buffers of the kernel, which doubles what it is asked for and allows for headers, and
        // one pipe of ours.
        assert!(sent.len() < 600 << 10, "{} bytes were taken", sent.len());
        client.end();
        assert_same(&backend.hear_all(), &sent);
        backend.end();
        assert_eq!(client.hear_all(), b"");
        assert_eq!(relay.outcome().end, End::Finished);
    }
}

#[test]
fn a_relay_that_waits_uses_no_processor() {
    for tuning in tunings() {
        for ended in [false, true] {
            let setup = Setup {
                client: Kind::Narrow,
                backend: Kind::Narrow,
                tuning,
                ..Setup::default()
            };
            let (mut client, mut backend, relay) = setup.run().split();
            if ended {
                backend.end();
                client.hear_all();
            }
            // Stalls, and waits 300 ms to be sure.
            let sent = client.fill();
            client.end();
            assert_same(&backend.hear_all(), &sent);
            drop((client, backend));
            let (_, cpu) = relay.outcome_and_cpu();
            assert!(cpu < Duration::from_millis(150), "{cpu:?}");
        }
    }
}

#[test]
fn the_tail_arrives_though_fin_came_while_the_reader_was_stalled() {
    const STALLED: Duration = Duration::from_secs(2);
    let cases: Vec<_> = tunings()
        .into_iter()
        .flat_map(|tuning| [(tuning, false), (tuning, true)])
        .collect();
    // Side by side, for each of them waits.
    std::thread::scope(|threads| {
        for (tuning, reversed) in cases {
            threads.spawn(move || {
                let (client, backend) = if reversed {
                    (Kind::Narrow, Kind::Tcp)
                } else {
                    (Kind::Tcp, Kind::Narrow)
                };
                let (client, backend, relay) = Setup {
                    client,
                    backend,
                    tuning,
                    ..Setup::default()
                }
                .run()
                .split();
                let (mut writer, mut reader) = if reversed {
                    (backend, client)
                } else {
                    (client, backend)
                };
                let mut sent = noise(3 << 20, 21);
                let mut got = Vec::new();
                std::thread::scope(|threads| {
                    threads.spawn(|| writer.say(&sent));
                    got = reader.hear(3 << 20);
                });
                // Now everything on the way is filled, the pipe too, and then comes FIN.
                sent.extend(writer.fill());
                writer.end();
                let (_sender, nothing) = std::sync::mpsc::channel::<()>();
                assert!(nothing.recv_timeout(STALLED).is_err());
                got.extend(reader.hear_all());
                assert_same(&got, &sent);
                // The end was the last there was, and it was not made up: the way back is open.
                reader.say(b"all of it");
                assert_eq!(writer.hear(9), b"all of it");
                drop((reader, writer));
                assert_eq!(relay.outcome().end, End::Finished);
            });
        }
    });
}

/// A 64 KiB pipe is full with 16 one-byte segments; EAGAIN from it once hung a relay for good. The
/// reader pauses until all is sent, then takes little at a time.
#[test]
fn many_small_segments_do_not_stall_a_pipe_whose_slots_are_full() {
    let mut late = 0;
    for round in 0..1000 {
        let setup = Setup {
            backend: Kind::Narrow,
            tuning: SPLICE,
            ..Setup::default()
        };
        let (mut client, mut backend, relay) = setup.run().split();
        let (mut decoy, _unread) = pair(Kind::Tcp);
        // More than the backend's buffers hold, so that the rest waits in the pipe.
        let mut sent = noise(64 << 10, round);
        client.say(&sent);
        for size in [1, 100, 1448] {
            for part in 0..200 {
                let segment = noise(size, part);
                client.say(&segment);
                // Two segments of one thread that lie side by side in memory share a slot.
                decoy.say(b".");
                sent.extend(segment);
            }
        }
        let resumed = clock::now();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let mut little = [0; 3000];
            let len = backend.read(&mut little).unwrap();
            got.extend(&little[..len]);
        }
        let took = clock::now().since(resumed);
        assert_same(&got, &sent);
        late += usize::from(took >= Duration::from_secs(1));
        // Still alive, both ways.
        backend.say(b"pong");
        assert_eq!(client.hear(4), b"pong");
        client.say(b"ping");
        assert_eq!(backend.hear(4), b"ping");
        drop((client, backend));
        let (outcome, cpu) = relay.outcome_and_cpu();
        assert_eq!(outcome.end, End::Finished);
        assert!(
            cpu <= Duration::from_millis(50),
            "{cpu:?} of processor time"
        );
    }
    // A relay that stalls is late each time; a machine that is busy, at times.
    assert!(late <= 10, "{late} of 1000 took more than a second");
}

#[test]
fn hostile_patterns_lose_nothing() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kinds = [Kind::Tcp, Kind::Narrow, Kind::Unix];
        let mut kind = || *rng.choice(&kinds).unwrap();
        let (client, backend) = (kind(), kind());
        let tuning = *rng.choice(&tunings()).unwrap();
        let setup = Setup {
            client,
            backend,
            tuning,
            ..Setup::default()
        };
        let (client, backend, relay) = setup.run().split();
        let up = noise(rng.usize(0..1 << 20), rng.u64(..));
        let down = noise(rng.usize(0..1 << 20), rng.u64(..));
        std::thread::scope(|threads| {
            for (mut peer, bytes) in [(client.try_clone(), &up), (backend.try_clone(), &down)] {
                let mut rng = rng.fork();
                threads.spawn(move || {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let most = *rng.choice(&[1, 64, 1448, 65_536, 300_000]).unwrap();
                        let (now, later) = rest.split_at(rng.usize(1..=most).min(rest.len()));
                        peer.write_all(now).unwrap();
                        rest = later;
                    }
                    peer.end();
                });
            }
            for (mut peer, bytes) in [(client.try_clone(), &down), (backend.try_clone(), &up)] {
                let mut rng = rng.fork();
                threads.spawn(move || {
                    let mut got = Vec::new();
                    let mut buffer = vec![0; 100_000];
                    loop {
                        let most = rng.usize(1..=buffer.len());
                        match peer.read(&mut buffer[..most]).unwrap() {
                            0 => break,
                            len => got.extend(&buffer[..len]),
                        }
                    }
                    assert_same(&got, bytes);
                });
            }
        });
        let outcome = relay.outcome();
        assert_eq!(outcome.end, End::Finished, "seed {seed}");
        assert_eq!(
            (outcome.to_backend, outcome.to_client),
            (up.len() as u64, down.len() as u64),
            "seed {seed}"
        );
    }
}
