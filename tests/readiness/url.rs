//! READY_URL.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::Duration,
};

use sleepingd::readiness::http_ok;

use super::{LONG, bound};

/// Answers one request with these bytes; says what was asked.
fn answers(answer: &'static [u8]) -> (SocketAddr, mpsc::Receiver<String>) {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let (asked, request) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut head = BufReader::new(stream.try_clone().unwrap());
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") && head.read_line(&mut text).unwrap() > 0 {}
        stream.write_all(answer).unwrap();
        asked.send(text).unwrap();
        // Held open until the test is over: only the head may be waited for.
        let _ = head.read_to_string(&mut String::new());
    });
    (address, request)
}

#[tokio::test]
async fn a_url_is_ready_at_200_before_its_body_has_come() {
    let (address, request) = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    let url = format!("http://{address}/health?deep=1");
    http_ok(&url, LONG).await.unwrap();
    let request = request.recv().unwrap();
    assert!(
        request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("\r\nhost: {address}\r\n")),
        "{request}"
    );
}

#[tokio::test]
async fn a_url_that_is_not_ready_says_why() {
    let (address, _request) = answers(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let url = format!("http://{address}/");
    let why = http_ok(&url, LONG).await.unwrap_err();
    assert_eq!(
        why,
        format!("{url}: the answer is 503 Service Unavailable, not 200")
    );

    let (mute, mute_address) = bound();
    mute.listen(1).unwrap();
    let url = format!("http://{mute_address}");
    let why = http_ok(&url, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(why, format!("{url}: no answer within 50ms"));

    let (address, _request) = answers(b"220 mail.example ESMTP\r\n\r\n");
    let why = http_ok(&format!("http://{address}/"), LONG)
        .await
        .unwrap_err();
    assert!(why.contains("invalid HTTP"), "{why}");

    for (url, text) in [
        ("https://x/", "not an http:// URL"),
        ("/health", "not an http:// URL"),
        ("http://me@x/", "it must name a host, and no user"),
        ("http:// /", "not a URL"),
    ] {
        let why = http_ok(url, LONG).await.unwrap_err();
        assert!(why.starts_with(&format!("{url}: {text}")), "{why}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let endless = thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Ends when the client hangs up.
        while stream
            .write_all(b"X: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
            .is_ok()
        {}
    });
    http_ok(&format!("http://{address}/"), LONG)
        .await
        .unwrap_err();
    endless.join().unwrap();
}
