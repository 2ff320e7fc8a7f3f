//! FIN as FIN and RST as RST, both ways, through a sleeping and an awake service.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use crate::harness::{Backend, Stage, connect, is_reset, reset, rest, take};

const REQUEST: usize = 50_000;
const REPLY: usize = 100_000;

/// A client and the backend's end of its connection: first through a wake, then, with the same
/// daemon, as it is awake.
fn both_ways(check: impl Fn(TcpStream, Box<dyn FnOnce() -> TcpStream + '_>)) {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut backend = None;
    let client = connect(front);
    let start = stage.called("start");
    check(
        client,
        Box::new(|| {
            let listening = backend.insert(Backend::at(back));
            start.succeeds();
            listening.accept()
        }),
    );
    let backend = backend.unwrap();
    check(connect(front), Box::new(|| backend.accept()));
}

/// Bytes that do not look like one another.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_client_that_ends_its_request_gets_the_whole_reply() {
    both_ways(|mut client, serve| {
        client.write_all(&pattern(REQUEST)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = serve();
        assert_eq!(rest_bytes(&mut server), pattern(REQUEST));
        // Only now, when the request is over.
        thread::spawn(move || server.write_all(&pattern(REPLY)).unwrap());
        assert_eq!(rest_bytes(&mut client), pattern(REPLY));
    });
}

#[test]
fn a_backend_that_ends_its_reply_gets_the_whole_upload() {
    both_ways(|mut client, serve| {
        let mut server = serve();
        server.write_all(b"go on").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client), "go on");
        thread::spawn(move || client.write_all(&pattern(REPLY)).unwrap());
        assert_eq!(rest_bytes(&mut server), pattern(REPLY));
    });
}

/// The reply takes its time: the connection that is half over must not be given up meanwhile.
#[test]
fn a_reply_that_comes_long_after_the_end_of_the_request_is_whole() {
    both_ways(|mut client, serve| {
        client.write_all(b"q").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = serve();
        assert_eq!(rest(&mut server), "q");
        thread::sleep(Duration::from_millis(200));
        thread::spawn(move || server.write_all(&pattern(REPLY)).unwrap());
        assert_eq!(rest_bytes(&mut client), pattern(REPLY));
    });
}

#[test]
fn both_may_end_at_once() {
    both_ways(|mut client, serve| {
        let mut server = serve();
        let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::scope(|threads| {
            threads.spawn(|| {
                up.write_all(&pattern(REQUEST)).unwrap();
                up.shutdown(Shutdown::Write).unwrap();
            });
            threads.spawn(|| {
                down.write_all(&pattern(REPLY)).unwrap();
                down.shutdown(Shutdown::Write).unwrap();
            });
            threads.spawn(|| assert_eq!(rest_bytes(&mut server), pattern(REQUEST)));
            assert_eq!(rest_bytes(&mut client), pattern(REPLY));
        });
    });
}

/// Data, FIN and hang-up in one event: a backend that answers and is gone, which is no reset.
#[test]
fn fin_that_comes_with_the_last_byte_is_no_reset() {
    both_ways(|mut client, serve| {
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = serve();
        assert_eq!(rest(&mut server), "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(rest(&mut client), "answer");
    });
}

#[test]
fn a_client_that_resets_is_a_reset_to_the_backend_after_what_it_had_sent() {
    both_ways(|mut client, serve| {
        client.write_all(b"half a req").unwrap();
        let mut server = serve();
        assert_eq!(take(&mut server, 10), b"half a req");
        reset(client);
        is_reset(server);
    });
}

#[test]
fn a_backend_that_resets_is_a_reset_to_the_client_after_what_it_had_sent() {
    both_ways(|mut client, serve| {
        let mut server = serve();
        server.write_all(b"half a rep").unwrap();
        assert_eq!(take(&mut client, 10), b"half a rep");
        reset(server);
        is_reset(client);
    });
}

/// A server that speaks first is heard without the client having said anything.
#[test]
fn a_backend_that_speaks_first_is_heard() {
    both_ways(|mut client, serve| {
        let mut server = serve();
        server.write_all(b"220 ready").unwrap();
        assert_eq!(take(&mut client, 9), b"220 ready");
        client.write_all(b"QUIT").unwrap();
        assert_eq!(take(&mut server, 4), b"QUIT");
    });
}

fn rest_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(stream, &mut bytes).expect("an end");
    bytes
}
