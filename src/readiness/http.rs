//! READY_URL: a backend that says by HTTP that it is ready.

use std::{pin::pin, time::Duration};

use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
    http::uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::model::duration;

/// An answer's head may be this long.
const HEAD_LIMIT: usize = 16 * 1024;

/// Asks once: 200 means ready. Takes at most `limit`; the body is not read.
///
/// # Errors
/// Why it is not ready, in words, beginning with the URL.
pub async fn http_ok(url: &str, limit: Duration) -> Result<(), String> {
    let asked = timeout(limit, ask(url)).await;
    let status = asked
        .unwrap_or_else(|_| Err(format!("no answer within {}", duration::show(limit))))
        .map_err(|why| format!("{url}: {why}"))?;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(format!("{url}: the answer is {status}, not 200"))
    }
}

async fn ask(url: &str) -> Result<StatusCode, String> {
    let (authority, path) = parse(url)?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|e| e.to_string())?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("sleepingd/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|e| e.to_string())?;
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        biased;
        response = &mut answer => response.map(|r| r.status()).map_err(|e| explain(&e)),
        // Drives the connection. When it has ended the answer is there, or its failure.
        _ = connection => answer.await.map(|r| r.status()).map_err(|e| explain(&e)),
    }
}

/// Who to ask, and for what.
pub(super) fn parse(url: &str) -> Result<(Authority, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err("not an http:// URL".to_owned());
    }
    let authority = uri.authority().ok_or("it names no host")?.clone();
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err("it must name a host, and no user".to_owned());
    }
    let path = uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    Ok((authority, path))
}

/// hyper's own message says only what it was doing.
fn explain(error: &hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
