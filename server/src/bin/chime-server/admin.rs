//! The pages for operators: `/metrics`, `/healthz` and `/readyz` over HTTP/1.1.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::time::Duration;

use chime_server::Stats;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics;

/// Connections at one time. One more displaces the oldest whose request is not complete.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the address of the pages, and returns it with the port that it got.
pub(crate) fn bind(address: SocketAddr) -> Result<(net::TcpListener, SocketAddr), String> {
    let bind = || {
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|error: io::Error| format!("cannot listen on admin {address}: {error}"))
}

/// Serves the pages, a request for each connection, for as long as it is polled.
pub(crate) async fn serve(
    listener: net::TcpListener,
    stats: Stats,
    stopping: CancellationToken,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    // In the order in which they came.
    let mut unfinished = VecDeque::<AbortHandle>::new();
    let mut failures = 0;
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {
                unfinished.retain(|task| !task.is_finished());
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failures = 0;
                    if unfinished.len() == CONNECTIONS_MAX {
                        unfinished.pop_front().inspect(AbortHandle::abort);
                    }
                    // A panic ends this task alone: hyper panics when the clock is before 1970.
                    let task = converse(stream, stats.clone(), stopping.clone());
                    unfinished.push_back(connections.spawn(task));
                    // A request that came with its connection is replied to before that is displaced.
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // The system reports a lack of descriptors even if no connection waits.
                    failures += 1;
                    if failures == 2 {
                        warn!("cannot accept connections to the admin address for now: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    if !unfinished.iter().any(AbortHandle::is_finished) {
                        unfinished.pop_front().inspect(AbortHandle::abort);
                    }
                }
            },
        }
    }
}

async fn converse(stream: TcpStream, stats: Stats, stopping: CancellationToken) {
    let answer = service_fn(|request| {
        let response = respond(&request, &stats, &stopping);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    let conversation = http
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), answer);
    // It is the client's business if it sent no HTTP, was too slow or went away.
    let _ = timeout(CONNECTION_TIMEOUT, conversation).await;
}

fn respond(
    request: &Request<Incoming>,
    stats: &Stats,
    stopping: &CancellationToken,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => page(StatusCode::OK, metrics::exposition(&stats.snapshot())),
        "/healthz" if stats.is_responding() => page(StatusCode::OK, "ok\n"),
        "/healthz" => page(StatusCode::SERVICE_UNAVAILABLE, "a worker is stuck\n"),
        "/readyz" if !stopping.is_cancelled() => page(StatusCode::OK, "ok\n"),
        "/readyz" => page(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        _ => page(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n",
        ),
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    // Of the text format of Prometheus, which all pages are in a way.
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
