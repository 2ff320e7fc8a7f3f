//! The control API over a real unix socket.
#![allow(clippy::unwrap_used)] // The helpers are as much tests as the tests.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sleepingd::control::{
    Client, ClientError, Request, Response, Status,
    api::{Errors, Reloaded, ServiceStatus, State, Units},
    serve, socket,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

/// More than any of this takes, on any machine.
const LONG: Duration = Duration::from_secs(30);

/// A running server.
struct Server {
    path: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start<F>(handler: impl Fn(Request) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::from_std(socket::bind(&path, None).unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, handler, async {
            let _ = stopped.await;
        }));
        Self {
            path,
            stop,
            task,
            _directory: directory,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.path, LONG)
    }

    /// Everything the server says to these bytes until it closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes with bytes unread resets; what it said before counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

async fn steady(request: Request) -> Response {
    match request {
        Request::Status => Response::Status(Box::new(status())),
        Request::Check(stopped) => Response::Checked(in_force(&stopped)),
        Request::Reload(stopped) => Response::Reloaded(in_force(&stopped)),
    }
}

/// As many services as units were stopped, so that these can be seen to have come.
fn in_force(stopped: &Units) -> Reloaded {
    Reloaded {
        services: stopped.units.len() as u64,
        warnings: Vec::new(),
    }
}

fn status() -> Status {
    let web = ServiceStatus {
        name: "Web".to_owned(),
        slug: "web".to_owned(),
        state: State::Awake,
        relays: 2,
        ..ServiceStatus::default()
    };
    Status {
        version: "2.0.0".to_owned(),
        services: vec![web],
        ..Status::default()
    }
}

#[tokio::test]
async fn a_client_gets_the_status_that_the_daemon_gave() {
    let server = Server::start(steady);
    assert_eq!(server.client().status().await.unwrap(), status());
    let units = |count| vec!["a.socket".to_owned(); count];
    let client = server.client();
    assert_eq!(client.reload(units(0)).await.unwrap().services, 0);
    assert_eq!(client.reload(units(2)).await.unwrap().services, 2);
    assert_eq!(client.check(units(1)).await.unwrap().services, 1);
}

#[tokio::test]
async fn a_rejected_reload_says_every_error_and_exits_78() {
    let server = Server::start(|_| async {
        Response::Rejected(Errors {
            errors: vec!["a.conf:1: x".into(), "a.conf:2: y".into()],
        })
    });
    let error = server.client().reload(Vec::new()).await.unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(
        error.to_string().ends_with(":\na.conf:1: x\na.conf:2: y"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let server = Server::start(steady);
    let mut silent = Vec::new();
    for half in [
        "",
        "GET /v1/sta",
        "POST /v1/reload HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    assert_eq!(server.client().status().await.unwrap(), status());
    drop(silent);
}

#[tokio::test]
async fn a_handler_that_takes_its_time_keeps_nobody_else_waiting() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let server = Server::start(move |request| {
        let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
        async move {
            if matches!(request, Request::Reload(_)) {
                begins.notify_one();
                goes.notified().await;
            }
            steady(request).await
        }
    });
    let client = server.client();
    let reload = tokio::spawn(async move { client.reload(Vec::new()).await });
    begun.notified().await;
    assert_eq!(server.client().status().await.unwrap(), status());
    go.notify_one();
    assert_eq!(reload.await.unwrap().unwrap().services, 0);
}

#[tokio::test]
async fn silent_clients_are_closed_and_their_places_are_given_on() {
    tokio::time::timeout(LONG, async {
        let server = Server::start(steady);
        let mut silent = Vec::new();
        // As many as there are places; so the client after them waits until one is closed.
        for _ in 0..32 {
            silent.push(UnixStream::connect(&server.path).await.unwrap());
        }
        assert_eq!(server.client().status().await.unwrap(), status());
        let mut rest = Vec::new();
        silent[0].read_to_end(&mut rest).await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn requests_that_are_none_are_refused_for_what_they_are() {
    let server = Server::start(steady);
    let answer = server.raw(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(
        answer.ends_with(r#"{"errors":["there is no /v2"]}"#),
        "{answer}"
    );

    let answer = server
        .raw(b"POST /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{answer}"
    );
    assert!(
        answer.to_lowercase().contains("\r\nallow: get\r\n"),
        "{answer}"
    );

    let answer = server.raw(b"this is no HTTP\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_too_long_is_refused_without_being_kept() {
    let server = Server::start(steady);
    let mut request =
        b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n".to_vec();
    request.extend([b'x'; 70_000]);
    let answer = server.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let mut request = b"GET /v1/status HTTP/1.1\r\nX: ".to_vec();
    request.extend([b'x'; 40_000]);
    let answer = server.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_stopped_server_gives_open_answers_time_and_takes_nobody_new() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let server = Server::start(move |request| {
        let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
        async move {
            begins.notify_one();
            goes.notified().await;
            steady(request).await
        }
    });
    let client = server.client();
    let asked = tokio::spawn(async move { client.status().await });
    begun.notified().await;
    server.stop.send(()).unwrap();
    // Its listener is closed first: wait for that, then let the answer go.
    while UnixStream::connect(&server.path).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(asked.await.unwrap().unwrap(), status());
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_not_there_exits_69_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let error = Client::new(&path, LONG).status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::NotFound));
    assert_eq!(error.exit_code(), 69);
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );

    // What a daemon that died leaves behind is as good as nothing.
    drop(socket::bind(&path, None).unwrap());
    let error = Client::new(&path, LONG).status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::ConnectionRefused));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_answer_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mute.sock");
    // It accepts nobody, but the kernel does on its behalf.
    let _mute = socket::bind(&path, None).unwrap();
    let limit = Duration::from_secs(7);
    let error = Client::new(&path, limit).status().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Slow(slow) if slow == limit),
        "{error}"
    );
    assert_eq!(error.exit_code(), 69);
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_no_status() {
    let directory = tempfile::tempdir().unwrap();
    let path: &Path = &directory.path().join("other.sock");
    let other = UnixListener::from_std(socket::bind(path, None).unwrap()).unwrap();
    let talk = async {
        let (mut stream, _) = other.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            .await
            .unwrap();
    };
    let client = Client::new(path, LONG);
    let (asked, ()) = tokio::join!(client.status(), talk);
    let error = asked.unwrap_err();
    assert!(matches!(error, ClientError::Garbled(_)), "{error}");
    assert_eq!(error.exit_code(), 1);
}
