//! The client: asks the running daemon.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::api::{Errors, Reloaded, Request, Status, Units};
use crate::model::duration;

/// An answer may be this long.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// A daemon that is up answers a connect at once; this is for one that is stuck.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Asks the daemon behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    limit: Duration,
}

/// Why there is no answer, or not the one that was wished for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error(
        "the daemon cannot be reached at {}: {source}; is it running? (systemctl status sleepingd)",
        path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket is not for us.
    #[error(
        "not allowed to use {}: {source}; be root, or a member of the socket's group",
        path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It took too long.
    #[error("the daemon did not answer within {}", duration::show(*.0))]
    Slow(Duration),
    /// The configuration was rejected, and the old one stays in force.
    #[error("the configuration was rejected; the old one stays in force:\n{}", .0.join("\n"))]
    Rejected(Vec<String>),
    /// The configuration is in force, but for what is said.
    #[error("the new configuration is in force, but for this:\n{}", .0.join("\n"))]
    Incomplete(Vec<String>),
    /// It refused for another reason.
    #[error("the daemon refused ({code}): {why}")]
    Refused {
        /// Its status code.
        code: StatusCode,
        /// Its words.
        why: String,
    },
    /// What it said cannot be understood.
    #[error("the daemon's answer cannot be understood: {0}; are both of one version?")]
    Garbled(String),
}

// === impl Client ===

impl Client {
    /// A client of the daemon whose socket this is, with this much time for each request.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, limit: Duration) -> Self {
        Self {
            path: path.into(),
            limit,
        }
    }

    /// How is everything?
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(&Request::Status).await
    }

    /// Whether the configuration could be read again, once these generated units are stopped.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] where it has errors; else see [`ClientError`].
    pub async fn check(&self, stopped: Vec<String>) -> Result<Reloaded, ClientError> {
        self.ask(&Request::Check(Units { units: stopped })).await
    }

    /// Has the configuration read again, and waits until it is in force. These generated units
    /// have been stopped.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] where it has errors; else see [`ClientError`].
    pub async fn reload(&self, stopped: Vec<String>) -> Result<Reloaded, ClientError> {
        self.ask(&Request::Reload(Units { units: stopped })).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let (code, json) = timeout(self.limit, exchange(&self.path, request))
            .await
            .unwrap_or(Err(ClientError::Slow(self.limit)))?;
        let garbled = |error: serde_json::Error| ClientError::Garbled(error.to_string());
        if code.is_success() {
            return serde_json::from_slice(&json).map_err(garbled);
        }
        let Errors { errors } = serde_json::from_slice(&json).map_err(garbled)?;
        Err(match code {
            StatusCode::UNPROCESSABLE_ENTITY => ClientError::Rejected(errors),
            StatusCode::CONFLICT => ClientError::Incomplete(errors),
            _ => ClientError::Refused {
                code,
                why: errors.join("; "),
            },
        })
    }
}

async fn exchange(path: &Path, request: &Request) -> Result<(StatusCode, Bytes), ClientError> {
    let stream = connect(path).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(garbled)?;
    let (method, target) = request.route().method_and_path();
    let body = request
        .body()
        .map_err(|error| ClientError::Garbled(error.to_string()))?;
    let request = hyper::Request::builder()
        .method(method)
        .uri(target)
        // HTTP/1.1 wants one; a unix socket has none.
        .header(HOST, "localhost")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| ClientError::Garbled(error.to_string()))?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(garbled)?;
        let code = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await;
        let body = body.map_err(|error| ClientError::Garbled(error.to_string()))?;
        Ok((code, body.to_bytes()))
    });
    tokio::select! {
        biased;
        result = &mut answer => result,
        // Drives the connection; once that has ended, the answer is there, or its failure.
        _ = connection => answer.await,
    }
}

async fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    let connected = timeout(CONNECT_LIMIT, UnixStream::connect(path)).await;
    let source = match connected {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(source)) => source,
        Err(_) => return Err(ClientError::Slow(CONNECT_LIMIT)),
    };
    let path = path.to_path_buf();
    Err(match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied { path, source },
        _ => ClientError::Unreachable { path, source },
    })
}

fn garbled(error: hyper::Error) -> ClientError {
    ClientError::Garbled(error.to_string())
}

// === impl ClientError ===

impl ClientError {
    /// The exit code for it, as sysexits(3head) counts them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Slow(_) => 69,
            Self::Denied { .. } => 77,
            Self::Rejected(_) => 78,
            Self::Incomplete(_) | Self::Refused { .. } | Self::Garbled(_) => 1,
        }
    }
}
