//! Many relays on one thread: a stream does not keep a message waiting.

use std::{
    io::{Read, Write},
    thread,
};

use sleepingd::{
    relay::{Activity, Limits, relay},
    sys::{clock, net::Socket, stream::Stream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::rig::{HANGS, Kind, Peer, pair};

/// A relay on this thread's runtime, and its peers.
fn begin() -> (Peer, Peer, Activity, JoinHandle<()>) {
    let ((client, to_client), (backend, to_backend)) = (pair(Kind::Tcp), pair(Kind::Tcp));
    let [ours, theirs] =
        [to_client, to_backend].map(|fd| Stream::new(Socket::from_fd(fd).unwrap()).unwrap());
    let activity = Activity::new(clock::now());
    let shared = activity.clone();
    let task = tokio::spawn(async move {
        relay(
            ours,
            theirs,
            Limits::default(),
            std::future::pending(),
            shared,
        )
        .await;
    });
    (client, backend, activity, task)
}

/// On the same runtime, so that what is counted is its turns and not those of the machine.
fn on_runtime(peer: Peer) -> TcpStream {
    let Peer::Tcp(stream) = peer else {
        unreachable!()
    };
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// Writes, and reads at the other end, until the relay is gone.
fn stream_for_ever((mut writer, mut reader): (Peer, Peer)) {
    let bytes = vec![7; 1 << 20];
    thread::spawn(move || while writer.write_all(&bytes).is_ok() {});
    let mut buffer = vec![0; 1 << 20];
    thread::spawn(move || while reader.read(&mut buffer).is_ok_and(|len| len > 0) {});
}

#[test]
fn a_message_beside_bulk_streams_is_answered_within_a_bounded_number_of_their_turns() {
    const STREAMS: u64 = 4;
    const ROUNDS: u64 = 200;
    const TURN: u64 = 1 << 20;
    const PIPE: u64 = 256 << 10;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut bulk = Vec::new();
        for _ in 0..STREAMS {
            let (client, backend, activity, _) = begin();
            stream_for_ever((client, backend));
            bulk.push(activity);
        }
        let delivered = || bulk.iter().map(Activity::to_backend).sum::<u64>();
        let (client, backend, ..) = begin();
        let (mut client, mut backend) = (on_runtime(client), on_runtime(backend));
        let mut meanwhile = Vec::new();
        for _ in 0..ROUNDS {
            let before = delivered();
            let mut byte = [0];
            tokio::time::timeout(HANGS, async {
                client.write_all(b"?").await.unwrap();
                backend.read_exact(&mut byte).await.unwrap();
                backend.write_all(b"!").await.unwrap();
                client.read_exact(&mut byte).await.unwrap();
            })
            .await
            .expect("it starves");
            meanwhile.push(delivered() - before);
        }
        // There and back through the relay and the peers is four times ready; before each of them
        // every stream has a turn at most, of 1 MiB and a pipe.
        let turns = meanwhile.iter().max().unwrap() / (TURN + PIPE);
        assert!(turns <= 4 * STREAMS, "{turns} turns of {STREAMS} streams");
        assert!(
            meanwhile.iter().sum::<u64>() > TURN,
            "the streams did not move"
        );
    });
}
