//! A thousand clients at once, of a service that sleeps.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Result,
    daemon::Daemon,
    figures::{Figures, Unit},
    quiet,
    script::{LIMIT, MESSAGE, Part},
};

/// Long enough that all clients wait before the backend listens.
const PAUSE: Duration = Duration::from_secs(1);

/// What was lost from memory, and what is kept for the next crowd, is seen then.
const SETTLE: Duration = Duration::from_secs(10);

/// They all connect before any of them is served; each sends its own number, and must get it back.
pub fn crowd(figures: &mut Figures, program: &Path, clients: u32) -> Result<()> {
    eprintln!("crowd: {} s", (PAUSE + SETTLE).as_secs());
    sleepingd::sys::fd::raise_nofile_limit()?;
    let daemon = Daemon::start(program, 1, "STOP_CMD=/bin/true\nIDLE_TIME=1ms\n")?;
    let service = &daemon.services[0];
    let front = service.front;
    let all = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Result::Ok(runtime.block_on(together(front, clients)))
    });
    let mut start = service.stage.start()?;
    start.play(Part {
        at: service.target,
        pause: PAUSE,
        clients,
    })?;
    let stamps = start.stamps();
    let served = all.join().map_err(|_| "the clients panicked")??;
    // All have been answered, or given up; now they have left, and it goes back to sleep.
    let stamps = stamps.map_err(|e| format!("{e}\n{}", daemon.log()))?;
    start.ended()?;
    daemon.until_asleep(service)?;
    let starts = 1 + service.stage.uncalled()?;
    let name = |what: &str| format!("{clients} clients at once: {what}");
    figures.one(&name("STARTs"), starts.into(), Unit::Count, Some(1.0));
    figures.one(
        &name("lost"),
        f64::from(clients - served),
        Unit::Count,
        Some(0.0),
    );
    let took = stamps.last_served.saturating_sub(stamps.before_listen);
    figures.one(
        &name("listen() to the last one's answer"),
        took.as_secs_f64() * 1e6,
        Unit::Micros,
        None,
    );
    std::thread::park_timeout(SETTLE);
    let weight = daemon.weight()?;
    quiet::weigh(figures, &name("asleep again"), weight, Some(quiet::PSS_BAR));
    Ok(())
}

/// How many got their own answer. None leaves before the last one has: so many are open at once.
async fn together(front: SocketAddr, clients: u32) -> u32 {
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        tasks.spawn(one(front, number));
    }
    let mut open = Vec::new();
    let mut lost = BTreeMap::<String, u32>::new();
    while let Some(served) = tasks.join_next().await {
        let why = match served {
            Ok(Ok(stream)) => {
                open.push(stream);
                continue;
            }
            Ok(Err(e)) => e.to_string(),
            Err(e) => format!("it panicked: {e}"),
        };
        *lost.entry(why).or_default() += 1;
    }
    for (why, count) in lost {
        eprintln!("{count} clients are lost: {why}");
    }
    u32::try_from(open.len()).unwrap_or(0)
}

async fn one(front: SocketAddr, number: u32) -> Result<TcpStream> {
    timeout(LIMIT, async {
        let mut stream = TcpStream::connect(front).await?;
        let message: [u8; MESSAGE] = u64::from(number).to_be_bytes();
        stream.write_all(&message).await?;
        let mut answer = [0; MESSAGE];
        stream.read_exact(&mut answer).await?;
        if answer != message {
            return Err("it got another's answer".into());
        }
        Ok(stream)
    })
    .await?
}
