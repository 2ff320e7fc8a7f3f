//! What only shows from within: relays that are dropped, and waits that take a minute.

use std::{
    future::{pending, poll_fn},
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::{
    flow::{Fill, Means, Way, Wires},
    pair::Leaving,
    wires::{Rooms, Sent, Sockets},
    *,
};
use crate::{
    model::{ListenAddr, LocalAddr},
    sys::net::{First, ListenSocket},
};

/// Nothing here takes as long.
const HANGS: Duration = Duration::from_secs(20);

type Undrained = Pin<Box<dyn Future<Output = Word> + Send>>;

/// A listener, and where.
fn listener() -> (ListenSocket, SocketAddr) {
    let any = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = ListenSocket::bind(&any).unwrap();
    let LocalAddr::Tcp(at) = listener.local_addr().unwrap() else {
        panic!("not TCP")
    };
    (listener, at)
}

/// A connection: the peer's end and ours.
fn pair() -> (TcpStream, Stream) {
    let (listener, at) = listener();
    let peer = TcpStream::connect(at).unwrap();
    peer.set_read_timeout(Some(HANGS)).unwrap();
    // Its connect has returned, so it is there at once or soon.
    let ours = loop {
        match listener.accept() {
            Ok(accepted) => break accepted.socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    (peer, Stream::new(ours).unwrap())
}

/// A relay, and its peers: the client and the backend.
fn relayed(limits: Limits) -> ([TcpStream; 2], Relay<Undrained>) {
    let ((client, to_client), (backend, to_backend)) = (pair(), pair());
    let drain: Undrained = Box::pin(pending());
    let activity = Activity::new(clock::now());
    let relay = relay(to_client, to_backend, limits, drain, activity);
    ([client, backend], relay)
}

/// It is reset, perhaps after some bytes.
#[track_caller]
fn is_reset(mut peer: TcpStream) {
    let error = peer.read_to_end(&mut Vec::new());
    let error = error.expect_err("what was cut off looks like a whole");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_relay_that_is_dropped_in_the_middle_resets_both_sides() {
    for begun in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let [client, backend] = runtime.block_on(async {
            let ([client, mut backend], relay) = relayed(Limits::default());
            backend.write_all(b"half of it").unwrap();
            if begun {
                tokio::spawn(relay);
                client.set_nonblocking(true).unwrap();
                while client.peek(&mut [0; 10]).is_err() {
                    tokio::task::yield_now().await;
                }
                client.set_nonblocking(false).unwrap();
            }
            [client, backend]
        });
        // With the thread's runtime its tasks are dropped.
        drop(runtime);
        is_reset(client);
        is_reset(backend);
    }
}

#[tokio::test]
async fn a_relay_that_panics_resets_both_sides() {
    let ((client, to_client), (backend, to_backend)) = (pair(), pair());
    let drain: Undrained = Box::pin(async { panic!("on purpose") });
    let activity = Activity::new(clock::now());
    let limits = Limits::default();
    let relay = tokio::spawn(relay(to_client, to_backend, limits, drain, activity));
    assert!(relay.await.unwrap_err().is_panic());
    is_reset(client);
    is_reset(backend);
}

/// Lets go of what is ready to run.
async fn others() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_backend_that_speaks_first_hears_of_a_silent_client_at_once() {
    let (listener, at) = listener();
    let (client, to_client) = pair();
    let to_backend = Stream::connect_tcp(at, HANGS, First::Us).await.unwrap();
    assert!(listener.accept().is_err(), "nothing was held back");

    let drain: Undrained = Box::pin(pending());
    let (limits, activity) = (Limits::default(), Activity::new(clock::now()));
    tokio::spawn(relay(to_client, to_backend, limits, drain, activity).with_new_backend());
    others().await;
    // On the loopback a packet has arrived when the call that sends it returns.
    let backend = listener.accept().expect("it has not been told").socket;
    backend.send(b"220 ready").unwrap();
    client.set_nonblocking(true).unwrap();
    while client.peek(&mut [0; 10]).is_err() {
        others().await;
    }
}

#[tokio::test]
async fn what_the_backend_is_sent_the_second_time_waits_for_no_acknowledgement() {
    let (_listener, at) = listener();
    let to_backend = Stream::connect_tcp(at, HANGS, First::Anybody).await;
    let (backend, (mut client, to_client)) = (to_backend.unwrap(), pair());
    let (mut rooms, mut sent) = (Rooms::default(), Sent::default());
    for prompt in [false, true, true] {
        client.write_all(b"x").unwrap();
        let mut buffer = [0; 10];
        let mut wires = Sockets::new(
            &to_client,
            &backend,
            &mut rooms,
            &mut sent,
            &mut buffer,
            65536,
        );
        let filled = wires.fill(Way::ToBackend, Means::Copy);
        assert!(matches!(filled, Fill::Moved(moved) if moved.bytes == 1));
        assert_eq!(wires.flush(Way::ToBackend).unwrap().bytes, 1);
        assert_eq!(SockRef::from(&backend).tcp_nodelay().unwrap(), prompt);
    }
}

/// Bytes of one that has reset are on their way to one that does not read.
async fn undeliverable(limits: Limits) -> (TcpStream, Resetting) {
    let ((client, to_client), (_, to_backend)) = (pair(), pair());
    // Until neither the peer's buffer nor ours takes any more.
    while to_client.socket().send(&[0; 65536]).is_ok() {}
    let activity = Activity::new(clock::now());
    let tuning = Tuning::default();
    let driver = Driver::new(
        to_client,
        to_backend,
        limits,
        tuning,
        activity,
        clock::now(),
    );
    let verdict = Verdict {
        end: End::Reset,
        by: Side::Backend,
    };
    (client, Resetting::new(driver, verdict))
}

#[tokio::test(start_paused = true)]
async fn what_a_reset_leaves_to_be_delivered_has_its_time_and_a_minute_where_that_has_no_limit() {
    for half_close in [Some(Duration::from_secs(7)), None] {
        let limits = Limits {
            client_timeout: None,
            half_close,
        };
        let (client, mut resetting) = undeliverable(limits).await;
        let begun = tokio::time::Instant::now();
        tokio::time::timeout(LONGEST_DELIVERY * 2, poll_fn(|cx| resetting.poll(cx)))
            .await
            .expect("an end");
        let expected = half_close.unwrap_or(Duration::from_secs(60));
        assert_eq!(begun.elapsed().as_secs(), expected.as_secs());
        is_reset(client);
    }
}

#[test]
fn a_side_that_has_failed_has_a_deadline_and_one_that_has_ended_has_what_is_configured() {
    let unlimited = Limits::default();
    let failed = Leaving::Failed(Side::Client);
    let minute = Some((LONGEST_DELIVERY, End::HalfCloseTimeout));
    assert_eq!(unlimited.while_leaving(failed), minute);
    assert_eq!(unlimited.while_leaving(Leaving::Ended), None);
    assert_eq!(unlimited.while_leaving(Leaving::Not), None);
    let (short, long) = (Duration::from_secs(5), Duration::from_secs(9));
    let half = Limits {
        client_timeout: Some(long),
        half_close: Some(short),
    };
    let short_half = Some((short, End::HalfCloseTimeout));
    assert_eq!(half.while_leaving(failed), short_half);
    assert_eq!(half.while_leaving(Leaving::Ended), short_half);
    let idle = Some((long, End::IdleTimeout));
    assert_eq!(half.while_leaving(Leaving::Not), idle);
    let only_idle = Limits {
        half_close: None,
        ..half
    };
    assert_eq!(only_idle.while_leaving(failed), idle);
}

/// One turn of a relay that is not over yet.
async fn turn(relay: &mut Relay<Undrained>) {
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *relay).poll(cx))).await;
    assert!(polled.is_pending(), "{polled:?}");
    others().await;
}

/// As much as both ends of a connection hold, whose peer does not read. Says how much that is.
async fn fill(stream: &Stream) -> usize {
    let mut filled = 0;
    loop {
        while let Ok(sent) = stream.socket().send(&[0; 65536]) {
            filled += sent;
        }
        // The peer's end takes a little more a moment later.
        tokio::time::sleep(Duration::from_millis(5)).await;
        match stream.socket().send(&[0]) {
            Ok(sent) => filled += sent,
            Err(_) => return filled,
        }
    }
}

/// What is read at once.
const REPLY: &[u8] = b"the reply";

/// A client that does not read, whose backend has said all, FIN included, and resets after it was
/// passed the client's FIN; `looks` times the relay has a look in between. What the client gets
/// then, beyond what was in its way, and the error at the end of it.
async fn a_complete_reply_to_a_slow_client(looks: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let ((mut client, to_client), (mut backend, to_backend)) = (pair(), pair());
    let filled = fill(&to_client).await;
    // So that the backend has something unread, and FIN is behind it.
    while to_backend.socket().send(&[0; 65536]).is_ok() {}
    backend.write_all(REPLY).unwrap();
    backend.shutdown(Shutdown::Write).unwrap();
    let limits = Limits {
        client_timeout: None,
        half_close: Some(HANGS),
    };
    let activity = Activity::new(clock::now());
    let mut relay: Relay<Undrained> =
        relay(to_client, to_backend, limits, Box::pin(pending()), activity);
    for _ in 0..3 {
        turn(&mut relay).await;
    }
    client.shutdown(Shutdown::Write).unwrap();
    others().await;
    for _ in 0..=looks {
        turn(&mut relay).await;
    }
    SockRef::from(&backend)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(backend);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let failed = client.read_to_end(&mut all).err().map(|e| e.kind());
        (all.split_off(filled.min(all.len())), failed)
    });
    tokio::time::timeout(HANGS, relay).await.unwrap();
    reader.join().unwrap()
}

/// Once our FIN has gone, the kernel says ECONNRESET where it said EPIPE before, and only what has
/// been seen of the reply tells whether it was whole.
#[tokio::test]
async fn a_reply_whose_fin_was_seen_is_complete_whenever_the_reset_behind_it_comes() {
    for looks in [0, 3] {
        let got = a_complete_reply_to_a_slow_client(looks).await;
        assert!(
            got == (REPLY.to_vec(), None),
            "after {looks} looks: {:?}",
            got.1
        );
    }
}

/// What is queued when FIN comes may be spliced like the rest.
#[tokio::test]
async fn fin_is_no_urgent_data() {
    let (mut peer, ours) = pair();
    peer.write_all(b"x").unwrap();
    others().await;
    assert!(!ours.is_urgent());
    peer.shutdown(Shutdown::Write).unwrap();
    while !matches!(ours.socket().glance(), Ok(glance) if glance.ended) {
        tokio::task::yield_now().await;
    }
    others().await;
    assert!(!ours.is_urgent(), "FIN is taken for urgent data");
    SockRef::from(&peer).send_out_of_band(b"!").unwrap_err();
    let (peer, ours) = pair();
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    while !ours.is_urgent() {
        tokio::task::yield_now().await;
    }
}
