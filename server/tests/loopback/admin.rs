//! The pages for operators, the order of a stop, and the service manager.

use std::env::temp_dir;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use chime_protocol::Command;
use chime_server::Counter;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use strum::EnumCount;

use crate::{
    FLAGS, PATIENCE, Server, command, read_line, uninterrupted, wait_until, write_until_stopped,
};

/// Free ports, and pages on another one.
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// What is shorter shows that a flag is heeded.
const LINE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The status and the text of a page, or the head too if `method` is not GET.
fn ask(server: &Server, method: &str, path: &str) -> (u16, String) {
    let mut stream = connect(server);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: chime\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    let text = if method == "GET" { body } else { &response };
    (status.parse().expect("a number"), text.to_string())
}

fn get(server: &Server, path: &str) -> (u16, String) {
    ask(server, "GET", path)
}

fn connect(server: &Server) -> TcpStream {
    let address = server.admin.expect("an admin address");
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

#[test]
fn metrics_count_what_happened() {
    let server = Server::start(&ADMIN);
    let open = server.connect();
    assert_eq!(read_line(&open), "Welcome to the server\n");
    let sent = "day\nsend time\n12\n12\nwhat?\nquit\n";
    let received = server.converse(sent);
    let socket = server.datagrams();
    socket.send(b"no request").expect("sent");
    socket.send(b"day").expect("sent");
    uninterrupted(|| socket.recv(&mut [0; 64])).expect("a reply");

    let welcome = "Welcome to the server\n".len();
    let expected = [
        "chime_connections_total{outcome=\"ended\"} 1".to_string(),
        "chime_connections_total{outcome=\"idle\"} 0".to_string(),
        "chime_connections_refused_total{reason=\"full\"} 0".to_string(),
        "chime_connections_open 1".to_string(),
        "chime_requests_total{command=\"day\"} 1".to_string(),
        "chime_requests_total{command=\"send time\"} 1".to_string(),
        "chime_requests_total{command=\"digits\"} 2".to_string(),
        "chime_requests_total{command=\"invalid\"} 1".to_string(),
        "chime_requests_total{command=\"quit\"} 1".to_string(),
        "chime_requests_total{command=\"help\"} 0".to_string(),
        "chime_datagrams_total{result=\"answered\"} 1".to_string(),
        "chime_datagrams_total{result=\"ignored\"} 1".to_string(),
        "chime_datagrams_total{result=\"limited\"} 0".to_string(),
        format!("chime_received_bytes_total {}", sent.len()),
        format!("chime_sent_bytes_total {}", received.len() + welcome),
        "chime_accept_errors_total 0".to_string(),
        format!(
            "chime_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
    ];
    // A client may see a reply before the worker has counted it.
    wait_until(&format!("the metrics are {expected:?}"), || {
        let metrics = get(&server, "/metrics").1;
        let shown: Vec<_> = metrics.lines().collect();
        expected.iter().all(|line| shown.contains(&line.as_str()))
    });
}

#[test]
fn metrics_tell_who_met_which_limit() {
    let refused = "chime_connections_refused_total";
    let ended = "chime_connections_total";
    for (flags, requests, metric) in [
        (
            ["--allow", "10.0.0.0/8"],
            "",
            format!("{refused}{{reason=\"network\"}} 2"),
        ),
        (
            ["--deny", "127.0.0.1"],
            "",
            format!("{refused}{{reason=\"network\"}} 2"),
        ),
        (
            ["--max-connections", "1"],
            "",
            format!("{refused}{{reason=\"full\"}} 1"),
        ),
        (
            ["--max-connections-per-address", "1"],
            "",
            format!("{refused}{{reason=\"address\"}} 1"),
        ),
        (
            ["--idle-timeout", "100ms"],
            "",
            format!("{ended}{{outcome=\"idle\"}} 2"),
        ),
        (
            ["--line-timeout", "100ms"],
            "da",
            format!("{ended}{{outcome=\"slow_line\"}} 2"),
        ),
    ] {
        let server = Server::start(&[ADMIN, flags].concat());
        let start = Instant::now();
        let mut clients = [server.connect(), server.connect()];
        for client in &mut clients {
            // A server that refuses it may be gone already.
            let _ = client.write_all(requests.as_bytes());
        }
        wait_until(&metric, || {
            get(&server, "/metrics")
                .1
                .lines()
                .any(|line| line == metric)
        });
        assert!(start.elapsed() < LINE_TIMEOUT_DEFAULT, "{metric}");
    }
}

#[test]
fn metrics_tell_of_a_client_that_takes_no_replies() {
    let server = Server::start(&[ADMIN, ["--write-timeout", "100ms"]].concat());
    // The kernels hold little of what is not read, so that the time to read it is short.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(&server.tcp[0].into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    let start = Instant::now();
    // It may be closed while it still writes.
    let _ = stream.write_all(&b"help\n".repeat(1_000_000));
    wait_until("it is closed", || {
        let metrics = get(&server, "/metrics").1;
        metrics.contains("\nchime_connections_total{outcome=\"slow_reader\"} 1\n")
    });
    assert!(start.elapsed() < WRITE_TIMEOUT_DEFAULT);
}

#[test]
fn metrics_tell_of_datagrams_over_the_rate() {
    let server = Server::start(&[ADMIN, ["--udp-rate", "1"]].concat());
    let socket = server.datagrams();
    wait_until("a datagram is over the rate", || {
        socket.send(b"day").expect("sent");
        let metrics = get(&server, "/metrics").1;
        !metrics.contains("\nchime_datagrams_total{result=\"limited\"} 0\n")
    });
}

#[test]
fn every_metric_has_a_help_and_a_type() {
    let server = Server::start(&ADMIN);
    let (status, metrics) = get(&server, "/metrics");
    assert_eq!(status, 200);
    let mut samples = 0;
    let mut described = "";
    let mut lines = metrics.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            described = help.split(' ').next().expect("a name");
            let kind = lines.next().expect("a type");
            let kind = kind
                .strip_prefix(&format!("# TYPE {described} "))
                .expect(kind);
            assert_eq!(
                kind == "counter",
                described.ends_with("_total"),
                "{described}"
            );
            continue;
        }
        let name = line.split(['{', ' ']).next().expect("a name");
        assert_eq!(name, described, "{line}");
        let value = line.rsplit(' ').next().expect("a value");
        value.parse::<u64>().expect(line);
        samples += 1;
    }
    // Every event but the connections served, every command, digits and what is invalid, how many
    // connections are open, the lines of the log that were dropped, and the version.
    let (events, commands) = (Counter::COUNT, Command::ALL.len());
    assert_eq!(samples, events - 1 + commands + 2 + 3);
}

#[test]
fn other_pages_and_methods_are_refused() {
    let server = Server::start(&ADMIN);
    assert_eq!(get(&server, "/healthz"), (200, "ok\n".to_string()));
    assert_eq!(get(&server, "/readyz"), (200, "ok\n".to_string()));
    assert_eq!(get(&server, "/").0, 404);
    assert_eq!(get(&server, "/metrics/").0, 404);
    let (status, response) = ask(&server, "POST", "/healthz");
    assert_eq!(status, 405);
    assert!(
        response.to_lowercase().contains("\r\nallow: get, head\r\n"),
        "{response}"
    );
    let (status, response) = ask(&server, "HEAD", "/healthz");
    assert_eq!(status, 200);
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn one_client_more_than_the_most_displaces_the_oldest() {
    let server = Server::start(&ADMIN);
    let mut silent: Vec<_> = (0..16).map(|_| connect(&server)).collect();
    let is_closed = |stream: &mut TcpStream| matches!(stream.read(&mut [0]), Ok(0));
    assert_eq!(get(&server, "/healthz").0, 200);
    assert!(is_closed(&mut silent[0]), "the oldest");
    for stream in &silent {
        stream.set_nonblocking(true).expect("set");
    }
    wait_until("all that say nothing are closed", || {
        silent.retain_mut(|stream| !is_closed(stream));
        silent.is_empty()
    });
}

#[test]
fn it_serves_on_for_the_drain_delay_and_says_that_it_is_not_ready() {
    let mut server = Server::start(&[&ADMIN[..], &["--drain-delay", "1h"]].concat());
    server.signal(Signal::SIGTERM);
    wait_until("it is not ready", || get(&server, "/readyz").0 == 503);
    assert_eq!(get(&server, "/healthz").0, 200);
    let reply = server.converse("12\n");
    assert_eq!(reply, "Welcome to the server\n3\n");
    assert_eq!(server.force(Signal::SIGTERM).code(), Some(1));
}

#[test]
fn it_stops_after_the_drain_delay() {
    let server = Server::start(&["--drain-delay", "100ms"]);
    server.signal(Signal::SIGINT);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let delay = log.find("stopping in 100ms").expect("the delay is logged");
    let stop = log
        .find("stopping: no new connections")
        .expect("the stop is logged");
    assert!(delay < stop, "{log}");
}

#[test]
fn pages_are_served_until_the_last_conversation_has_ended() {
    let server = Server::start(&[&ADMIN[..], &["--drain-timeout", "1h"]].concat());
    let mut stream = server.connect();
    // Replies that nobody takes keep the server from stopping.
    write_until_stopped(&mut stream, &b"help\n".repeat(1_000_000));
    server.signal(Signal::SIGTERM);
    wait_until("the server stops accepting", || {
        TcpStream::connect(server.tcp[0]).is_err()
    });
    assert_eq!(get(&server, "/readyz").0, 503);
    assert!(
        get(&server, "/metrics")
            .1
            .contains("\nchime_connections_open 1\n")
    );
}

/// A service manager that hears what a server tells it.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let path = temp_dir().join(format!("chime-{}-{name}", process::id()));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Manager { socket, path }
    }

    fn hear(&self) -> String {
        let mut notice = [0; 256];
        let length = uninterrupted(|| self.socket.recv(&mut notice)).expect("a notice");
        String::from_utf8_lossy(&notice[..length]).into_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It does no harm if it stays.
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn the_service_manager_hears_of_the_start_and_of_the_stop() {
    let manager = Manager::new("start-and-stop");
    let mut command = command(&FLAGS);
    let server = Server::spawn(command.env("NOTIFY_SOCKET", &manager.path), 2);
    assert_eq!(manager.hear(), "READY=1\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(manager.hear(), "STOPPING=1\n");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn a_service_manager_may_have_an_abstract_address() {
    let name = format!("chime-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut command = command(&FLAGS);
    let _server = Server::spawn(command.env("NOTIFY_SOCKET", format!("@{name}")), 2);
    let mut notice = [0; 256];
    let length = uninterrupted(|| manager.recv(&mut notice)).expect("a notice");
    assert_eq!(&notice[..length], b"READY=1\n");
}

#[test]
fn a_service_manager_that_is_not_there_hurts_nothing() {
    for name in [
        "",
        "@",
        "@chime-nobody",
        "/nowhere/notify",
        "relative",
        "vsock:1:2",
    ] {
        let mut command = command(&FLAGS);
        let server = Server::spawn(command.env("NOTIFY_SOCKET", name), 2);
        assert_eq!(server.converse("12\n"), "Welcome to the server\n3\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().0.code(), Some(0), "{name}");
    }
}

#[test]
fn a_service_manager_that_reads_nothing_delays_no_stop() {
    let manager = Manager::new("deaf");
    let full = UnixDatagram::unbound().expect("a socket");
    full.set_nonblocking(true).expect("set");
    while full.send_to(b"full", &manager.path).is_ok() {}
    let mut command = command(&FLAGS);
    let server = Server::spawn(command.env("NOTIFY_SOCKET", &manager.path), 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_while_the_server_drains_too() {
    let manager = Manager::new("watchdog");
    let mut command = command(&FLAGS);
    let variables = [("WATCHDOG_USEC", "100000"), ("CHIME_DRAIN_DELAY", "1h")];
    command.env("NOTIFY_SOCKET", &manager.path).envs(variables);
    let server = Server::spawn(&mut command, 2);
    assert_eq!(manager.hear(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.hear(), "WATCHDOG=1\n");
    }
    server.signal(Signal::SIGTERM);
    wait_until("the stop is told", || manager.hear() == "STOPPING=1\n");
    assert_eq!(manager.hear(), "WATCHDOG=1\n");
}

#[test]
fn a_signal_during_the_start_is_not_lost() {
    let manager = Manager::new("early-signal");
    for _ in 0..20 {
        let mut command = command(&FLAGS);
        let server = Server::spawn(command.env("NOTIFY_SOCKET", &manager.path), 0);
        let status = format!("/proc/{}/status", server.child.id());
        // SIGTERM is the fifteenth bit of the mask of signals that are caught.
        wait_until("signals are caught", || {
            let status = fs::read_to_string(&status).expect("a process");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16);
            caught.expect("a number") & (1 << 14) != 0
        });
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().0.code(), Some(0));
        assert_eq!(manager.hear(), "READY=1\n");
        assert_eq!(manager.hear(), "STOPPING=1\n");
    }
}
