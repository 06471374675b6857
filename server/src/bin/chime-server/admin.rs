//! The pages for operators: `/metrics`, `/healthz` and `/readyz` over HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::panic;
use std::time::Duration;

use chime_server::Monitor;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::control::Readiness;
use crate::metrics;

/// Connections at one time. Others wait until one of them ends.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may last: one that says nothing keeps others waiting no longer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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
    monitor: Monitor,
    readiness: Readiness,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        while let Some(ended) = connections.try_join_next() {
            resume_panic(ended);
        }
        if connections.len() == CONNECTIONS_MAX
            && let Some(ended) = connections.join_next().await
        {
            resume_panic(ended);
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, monitor.clone(), readiness.clone()));
            }
            Err(error) => {
                warn!("cannot accept a connection to the admin address: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, monitor: Monitor, readiness: Readiness) {
    let answer = service_fn(|request| {
        let response = respond(&request, &monitor, &readiness);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    let conversation = http
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // It is the client's business if it sent no HTTP, was too slow or went away.
    let _ = timeout(CONNECTION_TIMEOUT, conversation).await;
}

fn respond(
    request: &Request<Incoming>,
    monitor: &Monitor,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => page(StatusCode::OK, metrics::exposition(&monitor.tally())),
        "/healthz" if monitor.is_responding() => page(StatusCode::OK, "ok\n"),
        "/healthz" => page(StatusCode::SERVICE_UNAVAILABLE, "a worker is stuck\n"),
        "/readyz" if readiness.is_ready() => page(StatusCode::OK, "ok\n"),
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

fn resume_panic(ended: Result<(), JoinError>) {
    ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
}
