use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::Mutex,
};

use tokio::{runtime::Builder, sync::mpsc::UnboundedReceiver};

use super::*;
use crate::{
    config,
    daemon::{outcome, threads::Threads},
    model::{ListenAddr, Scope},
    relay::Counters,
    sys::net::ListenSocket,
};

/// What the connections of a service share, and what they tell it.
fn shared() -> (Arc<Shared>, UnboundedReceiver<Message>) {
    let path = "web.conf".into();
    let text = "[web]\nPORT=1\nTARGET=127.0.0.1:2\n".to_owned();
    let mut loaded = config::parse(&[config::SourceFile { path, text }], &[], Scope::System);
    let definition = loaded.definitions.remove(0);
    let (to_actor, inbox) = tokio::sync::mpsc::unbounded_channel();
    let shared = Shared {
        service: definition.name,
        policy: definition.policy,
        wakes_nothing: true,
        to_actor,
    };
    (Arc::new(shared), inbox)
}

#[tokio::test]
async fn the_task_of_an_idle_connection_is_small() {
    let (shared, _inbox) = shared();
    let (ours, _) = UnixStream::pair().unwrap();
    let client = Client {
        conn: ConnId(1),
        addr: ClientAddr::Unix,
        local: LocalAddr::Unix("/run/web.sock".into()),
        socket: Socket::from_fd(ours.into()).unwrap(),
        arrived: clock::now(),
    };
    let (_, decision) = oneshot::channel();
    let mut size = 0;
    Threads::default().spawn(|counted| {
        let task = serve(client, decision, shared, counted);
        size = size_of_val(&task);
        task
    });
    // With the runtime's own it is to fit in 512 bytes, in steps of 128.
    assert!(size <= 408, "{size} bytes");
}

/// What is logged.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listener() -> (ListenSocket, SocketAddr) {
    let any = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = ListenSocket::bind(&any).unwrap();
    let LocalAddr::Tcp(at) = listener.local_addr().unwrap() else {
        panic!("not TCP")
    };
    (listener, at)
}

/// Serves a client that is to be connected to there, and waits for the end; what the client has of
/// it, and its address.
async fn serve_one(to: Destination) -> (io::Result<usize>, SocketAddr) {
    let (listener, at) = listener();
    let mut peer = TcpStream::connect(at).unwrap();
    let socket = loop {
        match listener.accept() {
            Ok(accepted) => break accepted.socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let from = peer.local_addr().unwrap();
    let client = Client {
        conn: ConnId(1),
        addr: ClientAddr::Tcp(from),
        local: LocalAddr::tcp(at),
        socket,
        arrived: clock::now(),
    };
    let (decide, decision) = oneshot::channel();
    let (_never, cut) = oneshot::channel();
    let order = Order {
        candidates: vec![to],
        settle: Duration::ZERO,
        spare: None,
        cut,
        activity: Activity::new(clock::now()),
    };
    assert!(decide.send(Verdict::Connect(order)).is_ok());
    let (shared, mut inbox) = shared();
    Threads::default().spawn(|counted| serve(client, decision, shared, counted));
    // The task has all of the other ends.
    let mut told = Vec::new();
    while let Some(Message::Input(input)) = inbox.recv().await {
        told.push(input);
    }
    assert!(
        matches!(told.last(), Some(Input::RelayEnded(_))),
        "{told:?}"
    );
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (peer.read_to_end(&mut Vec::new()), from)
}

#[test]
fn a_client_whose_task_panics_is_reset_and_counted_and_has_its_line() {
    // A runtime without a clock: what sets a timer panics, the connect to a unix socket as well as
    // a new relay.
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let (_backend, at) = listener();
    let places = [
        (
            Destination::Unix("/nowhere".into()),
            "it was not relayed",
            1,
        ),
        (Destination::Tcp(at), "it was relayed to 127.0.0.1", 0),
    ];
    for (to, place, not_by_the_relay) in places {
        let broken = || outcome::counted(&Counters::default()).broken;
        let (before, paper) = (broken(), Paper::default());
        let pen = paper.clone();
        let log = tracing_subscriber::fmt().with_writer(move || pen.clone());
        let (heard, client) =
            tracing::subscriber::with_default(log.finish(), || runtime.block_on(serve_one(to)));
        let error = heard.expect_err("it looks like an empty answer");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(broken() - before, not_by_the_relay);
        let text = paper.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["ERROR", "=web", &client.to_string(), place, "timer"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
