//! The admin address: `/metrics`, `/healthz` and `/readyz` over HTTP/1.1.

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

/// Concurrent connections. One more displaces the oldest that has not finished.
const CONNECTIONS_MAX: usize = 16;
/// The maximum lifetime of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an accept error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the admin address, and returns the listener with its local address.
pub(crate) fn bind(address: SocketAddr) -> Result<(net::TcpListener, SocketAddr), String> {
    let bind = || {
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|error: io::Error| format!("cannot bind admin {address}: {error}"))
}

/// Serves one request per connection, until the future is dropped.
pub(crate) async fn serve(
    listener: net::TcpListener,
    stats: Stats,
    stopping: CancellationToken,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    // Oldest first.
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
                    // In its own task, since hyper panics when the clock is before 1970.
                    let task = serve_connection(stream, stats.clone(), stopping.clone());
                    unfinished.push_back(connections.spawn(task));
                    // A request that arrived with its connection gets its reply before it can be displaced.
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Linux reports a lack of descriptors even if the backlog is empty: ignore the first error.
                    failures += 1;
                    if failures == 2 {
                        warn!("cannot accept connections to the admin address: {error} (retrying)");
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

async fn serve_connection(stream: TcpStream, stats: Stats, stopping: CancellationToken) {
    let reply = service_fn(|request| {
        let response = respond(&request, &stats, &stopping);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    let connection = http
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), reply);
    // Errors of the client are ignored: invalid HTTP, a timeout or a reset.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

fn respond(
    request: &Request<Incoming>,
    stats: &Stats,
    stopping: &CancellationToken,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = page(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed: use GET or HEAD\n",
        );
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
            "not found: try /metrics, /healthz or /readyz\n",
        ),
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    // The content type of Prometheus' text format, for all pages.
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
