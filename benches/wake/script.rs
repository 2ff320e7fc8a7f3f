//! Leads a START and its backend through their lives: who says what over their connection.

use std::{
    fmt,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use socket2::SockRef;

use crate::Result;

/// Bytes that each client sends, and gets back.
pub const MESSAGE: usize = 8;

/// Longer than anything here may take, by far: what is later is lost.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a backend is to do.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Listen here,
    pub at: SocketAddr,
    /// so long after it has begun,
    pub pause: Duration,
    /// and serve so many clients.
    pub clients: u32,
}

/// When a backend did what, on CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
pub struct Stamps {
    /// Before the call of listen(2).
    pub before_listen: Duration,
    /// After it.
    pub listening: Duration,
    /// The first accept(2) has returned.
    pub accepted: Duration,
    /// The first client's message has been read.
    pub first_byte: Duration,
    /// The last client's answer has been written.
    pub last_served: Duration,
}

/// Where the STARTs of one service report.
#[derive(Debug)]
pub struct Stage {
    listener: UnixListener,
    path: PathBuf,
}

/// A START that has begun, and its backend afterwards. Ends with this.
#[derive(Debug)]
pub struct Start {
    /// When it began.
    pub begun: Duration,
    stream: BufReader<UnixStream>,
}

// === impl Stage ===

impl Stage {
    /// A place to report to, at this path.
    pub fn open(path: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&path)?;
        SockRef::from(&listener).set_read_timeout(Some(LIMIT))?;
        Ok(Self { listener, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a START.
    pub fn start(&self) -> Result<Start> {
        let (stream, _) = self
            .listener
            .accept()
            .map_err(|e| format!("no START came within {LIMIT:?}: {e}"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let begun = Duration::from_nanos(line.trim_end().parse()?);
        Ok(Start { begun, stream })
    }

    /// How many more STARTs have come.
    pub fn uncalled(&self) -> Result<u32> {
        self.listener.set_nonblocking(true)?;
        let mut count = 0;
        let end = loop {
            match self.listener.accept() {
                Ok(_) => count += 1,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Ok(count),
                Err(e) => break Err(e.into()),
            }
        };
        self.listener.set_nonblocking(false)?;
        end
    }
}

// === impl Start ===

impl Start {
    /// Tells it what to do.
    pub fn play(&mut self, part: Part) -> Result<()> {
        Ok(writeln!(self.stream.get_mut(), "{part}")?)
    }

    /// Waits until its backend has served its clients.
    pub fn stamps(&mut self) -> Result<Stamps> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err("the backend ended before it had served its clients".into()),
            Ok(_) => line.trim_end().parse(),
            Err(e) => Err(format!("a client is lost: {e}").into()),
        }
    }

    /// Waits until the backend has ended, after its clients.
    pub fn ended(mut self) -> Result<()> {
        match self.stream.read_line(&mut String::new())? {
            0 => Ok(()),
            _ => Err("the backend has said more than it was asked".into()),
        }
    }
}

// === impl Part ===

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.at, self.pause.as_nanos(), self.clients)
    }
}

impl FromStr for Part {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [at, pause, clients] = words[..] else {
            return Err("a part has three words".into());
        };
        Ok(Self {
            at: at.parse()?,
            pause: Duration::from_nanos(pause.parse()?),
            clients: clients.parse()?,
        })
    }
}

// === impl Stamps ===

impl fmt::Display for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {}",
            self.before_listen.as_nanos(),
            self.listening.as_nanos(),
            self.accepted.as_nanos(),
            self.first_byte.as_nanos(),
            self.last_served.as_nanos()
        )
    }
}

impl FromStr for Stamps {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self> {
        let words: std::result::Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        let [before_listen, listening, accepted, first_byte, last_served] = words?[..] else {
            return Err("there are five stamps".into());
        };
        let at = Duration::from_nanos;
        Ok(Self {
            before_listen: at(before_listen),
            listening: at(listening),
            accepted: at(accepted),
            first_byte: at(first_byte),
            last_served: at(last_served),
        })
    }
}
