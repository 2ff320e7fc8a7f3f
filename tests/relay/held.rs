//! Connections that nobody reads from yet.

use std::{cell::Cell, future::Future, io::Write, net::SocketAddr, pin::pin, time::Duration};

use sleepingd::{
    model::{ListenAddr, LocalAddr},
    relay::{Activity, Limits, Settled, relay, settle},
    sys::{
        clock,
        net::{First, ListenSocket, Socket},
        stream::{Sign, Stream},
    },
};

use crate::rig::{HANGS, Kind, Peer, pair};

const MOMENT: Duration = Duration::from_millis(50);

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, work).await.expect("it hangs") })
}

fn held(kind: Kind) -> (Peer, Stream) {
    let (peer, ours) = pair(kind);
    (peer, Stream::new(Socket::from_fd(ours).unwrap()).unwrap())
}

/// `None`: no sign within a moment.
async fn sign(stream: &Stream, seen_data: bool) -> Option<Sign> {
    tokio::time::timeout(MOMENT, stream.next_sign(seen_data))
        .await
        .ok()
}

#[test]
fn a_silent_client_gives_no_sign() {
    on_runtime(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let (_peer, stream) = held(kind);
            assert_eq!(sign(&stream, false).await, None);
        }
    });
}

#[test]
fn a_client_that_leaves_without_a_word_is_gone() {
    on_runtime(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let (peer, stream) = held(kind);
            let mut watch = pin!(stream.next_sign(false));
            assert!(tokio::time::timeout(MOMENT, watch.as_mut()).await.is_err());
            drop(peer);
            assert_eq!(watch.await, Sign::Gone);
        }
        let (peer, stream) = held(Kind::Tcp);
        peer.abort();
        assert_eq!(stream.next_sign(false).await, Sign::Gone);
    });
}

#[test]
fn a_fin_after_data_is_a_request_and_not_gone() {
    on_runtime(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let (mut peer, stream) = held(kind);
            peer.say(b"request");
            assert_eq!(stream.next_sign(false).await, Sign::Data);
            assert_eq!(sign(&stream, true).await, None);
            peer.end();
            assert_eq!(sign(&stream, true).await, None);
        }
    });
}

#[test]
fn a_reset_is_gone_whatever_was_sent_before() {
    on_runtime(async {
        for ended in [false, true] {
            let (mut peer, stream) = held(Kind::Tcp);
            peer.say(b"request");
            if ended {
                peer.end();
            }
            assert_eq!(stream.next_sign(false).await, Sign::Data);
            assert_eq!(sign(&stream, true).await, None);
            peer.reset();
            assert_eq!(stream.next_sign(true).await, Sign::Gone);
        }
    });
}

#[test]
fn unread_data_does_not_spin() {
    on_runtime(async {
        for ended in [false, true] {
            let (mut peer, stream) = held(Kind::Tcp);
            peer.say(b"request");
            if ended {
                peer.end();
            }
            let polls = Cell::new(0);
            let mut watch = pin!(stream.next_sign(true));
            let counted = std::future::poll_fn(|cx| {
                polls.set(polls.get() + 1);
                watch.as_mut().poll(cx)
            });
            assert!(tokio::time::timeout(MOMENT, counted).await.is_err());
            assert!(polls.get() < 5, "{} polls", polls.get());
        }
    });
}

#[test]
fn a_relay_misses_nothing_of_what_came_while_the_client_was_held() {
    for words in [&["early"][..], &["early", "later"], &[]] {
        on_runtime(async {
            let (mut peer, client) = held(Kind::Tcp);
            let (mut server, backend) = held(Kind::Tcp);
            for word in words {
                peer.say(word.as_bytes());
                assert_eq!(
                    sign(&client, *word == "later").await.is_some(),
                    *word != "later"
                );
            }
            peer.end();
            let _ = sign(&client, !words.is_empty()).await;
            let limits = Limits {
                client_timeout: None,
                half_close: None,
            };
            let activity = Activity::new(clock::now());
            let relayed = tokio::spawn(async move {
                relay(client, backend, limits, std::future::pending(), activity).await
            });
            let server = tokio::task::spawn_blocking(move || server.hear_all());
            assert_eq!(server.await.unwrap(), words.concat().as_bytes());
            // Not on this thread, which the relay needs.
            let reply = tokio::task::spawn_blocking(move || peer.hear_all());
            assert_eq!(reply.await.unwrap(), b"");
            relayed.await.unwrap();
        });
    }
}

#[test]
fn settle_tells_quiet_from_spoke_from_closed() {
    on_runtime(async {
        let (_quiet, stream) = held(Kind::Tcp);
        assert_eq!(settle(&stream, MOMENT).await, Settled::Quiet);
        let (mut speaker, stream) = held(Kind::Tcp);
        speaker.say(b"220 ready\r\n");
        drop(speaker);
        assert_eq!(settle(&stream, HANGS).await, Settled::Spoke);
        assert_eq!(
            stream.socket().pending_input().unwrap(),
            11,
            "it must not read"
        );
        let (closer, stream) = held(Kind::Tcp);
        drop(closer);
        assert_eq!(settle(&stream, HANGS).await, Settled::Closed);
        let (resetter, stream) = held(Kind::Tcp);
        resetter.abort();
        assert_eq!(settle(&stream, HANGS).await, Settled::Closed);
    });
}

fn listen(addr: &str) -> (ListenSocket, SocketAddr) {
    let socket = ListenSocket::bind(&ListenAddr::Tcp(addr.parse().unwrap())).unwrap();
    let LocalAddr::Tcp(addr) = socket.local_addr().unwrap() else {
        unreachable!()
    };
    (socket, addr)
}

#[test]
fn connect_reaches_who_listens_and_says_who_does_not() {
    on_runtime(async {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, addr) = listen(any);
            let stream = Stream::connect_tcp(addr, HANGS, First::Anybody)
                .await
                .unwrap();
            assert_eq!(stream.peer_addr().unwrap(), Some(addr));
            let accepted = listener.accept().unwrap().socket;
            assert_eq!(accepted.send(b"hi").unwrap(), 2);
            assert_eq!(stream.next_sign(false).await, Sign::Data);
            drop((listener, accepted));
            let refused = Stream::connect_tcp(addr, HANGS, First::Anybody)
                .await
                .unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn connect_gives_up_in_time() {
    on_runtime(async {
        // A full accept queue drops what knocks.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        let late = loop {
            match Stream::connect_tcp(addr, MOMENT, First::Anybody).await {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
            assert!(queued.len() < 10);
        };
        assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn connect_waits_for_room_in_a_unix_backlog() {
    on_runtime(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket
            .bind(&socket2::SockAddr::unix(&path).unwrap())
            .unwrap();
        socket.listen(0).unwrap();
        let first = Stream::connect_unix(&path, MOMENT).await.unwrap();
        let late = Stream::connect_unix(&path, MOMENT).await.unwrap_err();
        assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
        let (waiting, accepted) = tokio::join!(Stream::connect_unix(&path, HANGS), async {
            tokio::task::yield_now().await;
            socket.accept().unwrap()
        });
        waiting.unwrap();
        drop((first, accepted, socket));
        let refused = Stream::connect_unix(&path, HANGS).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connection_to_itself_is_found_out() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.connect(&socket.local_addr().unwrap()).unwrap();
    let itself = socket.local_addr().unwrap().as_socket().unwrap();
    let socket = Socket::from_fd(socket.into()).unwrap();
    assert!(socket.is_self_connected(itself).unwrap());
    let (_peer, ours) = pair(Kind::Tcp);
    let ours = Socket::from_fd(ours).unwrap();
    let other = ours.peer_addr().unwrap().unwrap();
    assert!(!ours.is_self_connected(other).unwrap());
}

#[test]
fn a_write_to_a_reset_connection_raises_no_signal() {
    let (mut peer, ours) = pair(Kind::Tcp);
    drop(Socket::from_fd(ours).map(|socket| socket.reset_on_close()));
    while peer.write_all(b"x").is_ok() {}
}
