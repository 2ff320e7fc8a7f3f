//! The server: one task per client, one request per connection.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

use super::api::{Errors, Request, Response, Route, RouteError};

/// Clients at once; the others wait in the backlog.
const CLIENT_LIMIT: usize = 32;

/// How long a client may take to say what it wants: for the head, and again for the body.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may take to read its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// How long answers may take that are on their way when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A request's head, and its body, may be this long.
const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: usize = 64 * 1024;

/// How long accepting pauses when descriptors or memory are short.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(500);

type Answer = hyper::Response<Full<Bytes>>;

/// Serves clients until `stop` is done; then takes no more, and gives those it has two seconds.
///
/// What `handler` does must not hang on its own completion: it is dropped when its client goes
/// away. How long it may take is for the handler to say.
pub async fn serve<H, F>(listener: UnixListener, handler: H, stop: impl Future<Output = ()>)
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CLIENT_LIMIT));
    let mut clients = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (stream, room) = accept(&listener, &room) => {
                let handler = handler.clone();
                clients.spawn(async move {
                    // Its failures are the client's: it went away, or was too slow.
                    let _ = converse(stream, handler).await;
                    drop(room);
                });
            }
            // Nothing to be learned from a task that has ended, but it must be collected.
            Some(_) = clients.join_next() => {}
        }
    }
    drop(listener);
    // Whoever is not done by then is cut off.
    let _ = timeout(STOP_LIMIT, async {
        while clients.join_next().await.is_some() {}
    })
    .await;
}

/// The next client, once there is room for it.
async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> (UnixStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    let mut warned = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // A client that has gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !warned {
                    warn!(%error, "the control socket accepts nobody; trying again");
                    warned = true;
                }
                sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
}

async fn converse<H, F>(stream: UnixStream, handler: H) -> hyper::Result<()>
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let answered = Notify::new();
    let service = service_fn(|request| {
        let (handler, answered) = (&handler, &answered);
        async move {
            let answer = answer(request, handler).await;
            answered.notify_one();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_LIMIT)
        .max_header_size(HEAD_LIMIT)
        // One request each: a client that idles on an open connection takes another's place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let too_slow = async {
        answered.notified().await;
        sleep(WRITE_LIMIT).await;
    };
    tokio::select! {
        ended = connection => ended,
        () = too_slow => Ok(()),
    }
}

async fn answer<H, F>(request: hyper::Request<Incoming>, handler: &H) -> Answer
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let (head, body) = request.into_parts();
    let route = match Route::of(&head.method, head.uri.path()) {
        Ok(route) => route,
        Err(RouteError::NotFound(path)) => {
            return refusal(StatusCode::NOT_FOUND, format!("there is no {path}"));
        }
        Err(RouteError::Method { allow }) => return wrong_method(&head.method, &allow),
    };
    // Also where there is no use for it: it must be read for the answer to be.
    let body = match timeout(READ_LIMIT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body is longer than {BODY_LIMIT} bytes");
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, text);
        }
        Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, error.to_string()),
        Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
    };
    let asked = match route.with(&body) {
        Ok(asked) => asked,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, format!("the body: {error}")),
    };
    let response = handler(asked).await;
    match response.json() {
        Ok(json) => reply(response.code(), json),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn wrong_method(method: &Method, allow: &Method) -> Answer {
    let text = format!("{method} is not for this path; use {allow}");
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, text);
    if let Ok(allow) = HeaderValue::from_str(allow.as_str()) {
        answer.headers_mut().insert(ALLOW, allow);
    }
    answer
}

fn refusal(code: StatusCode, why: impl Into<String>) -> Answer {
    let errors = Errors::one(why);
    // A list of strings is always JSON.
    reply(code, serde_json::to_vec(&errors).unwrap_or_default())
}

fn reply(code: StatusCode, json: Vec<u8>) -> Answer {
    let mut answer = hyper::Response::new(Full::from(json));
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
