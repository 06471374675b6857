//! The admin endpoints, the sequence of a graceful shutdown, and notifications to the service manager.

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
    FLAGS, ServerProcess, TIMEOUT, command, read_line, retry_interrupted, wait_until,
    write_until_blocked,
};

/// Flags for the admin endpoints on a free port.
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// The defaults. A shorter time shows that the flag has an effect.
const LINE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Sends a request, and returns the status and the body, or the whole response if `method` is not GET.
fn http_request(server: &ServerProcess, method: &str, path: &str) -> (u16, String) {
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

fn get(server: &ServerProcess, path: &str) -> (u16, String) {
    http_request(server, "GET", path)
}

fn connect(server: &ServerProcess) -> TcpStream {
    let address = server.admin.expect("an admin address");
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set");
    stream
}

#[test]
fn metrics_count_connections_requests_and_datagrams() {
    let server = ServerProcess::start(&ADMIN);
    let open = server.connect();
    assert_eq!(read_line(&open), "Welcome to the server\n");
    let sent = "day\nsend time\n12\n12\nwhat?\nquit\n";
    let received = server.replies_to(sent);
    let socket = server.udp_client();
    socket.send(b"no request").expect("sent");
    socket.send(b"day").expect("sent");
    retry_interrupted(|| socket.recv(&mut [0; 64])).expect("a reply");

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
        format!("chime_build_info{{version=\"{}\"}} 1", version()),
    ];
    // A client may receive a reply before the worker counts it.
    wait_until(&format!("the metrics are {expected:?}"), || {
        let metrics = get(&server, "/metrics").1;
        let shown: Vec<_> = metrics.lines().collect();
        expected.iter().all(|line| shown.contains(&line.as_str()))
    });
}

#[test]
fn metrics_count_refusals_and_timeouts_by_reason() {
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
        let server = ServerProcess::start(&[ADMIN, flags].concat());
        let start = Instant::now();
        let mut clients = [server.connect(), server.connect()];
        for client in &mut clients {
            // The server may have refused and closed it already.
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

/// Returns the version that the server prints, perhaps with a commit.
fn version() -> String {
    let output = command(&["--version"]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let version = text
        .strip_prefix("chime-server ")
        .expect("its name")
        .trim_end();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    version.to_owned()
}

#[test]
fn metrics_count_slow_readers() {
    let server = ServerProcess::start(&[ADMIN, ["--write-timeout", "100ms"]].concat());
    // A small receive buffer: few bytes are written, so the time allowed for reading them is short.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(&server.tcp[0].into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    let start = Instant::now();
    // The server may close the connection during the write.
    let _ = stream.write_all(&b"help\n".repeat(1_000_000));
    wait_until("the slow reader is counted", || {
        let metrics = get(&server, "/metrics").1;
        metrics.contains("\nchime_connections_total{outcome=\"slow_reader\"} 1\n")
    });
    assert!(start.elapsed() < WRITE_TIMEOUT_DEFAULT);
}

#[test]
fn metrics_count_datagrams_over_the_rate() {
    let server = ServerProcess::start(&[ADMIN, ["--udp-rate", "1"]].concat());
    let socket = server.udp_client();
    wait_until("a datagram is over the rate", || {
        socket.send(b"day").expect("sent");
        let metrics = get(&server, "/metrics").1;
        !metrics.contains("\nchime_datagrams_total{result=\"limited\"} 0\n")
    });
}

#[test]
fn every_metric_has_a_help_text_and_a_type() {
    let server = ServerProcess::start(&ADMIN);
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
        // A server that has done nothing yet.
        let expected = if name == "chime_build_info" { "1" } else { "0" };
        assert_eq!(value, expected, "{line}");
        samples += 1;
    }
    // Every counter except the connections served; every command, digits and invalid requests; the open
    // connections, the dropped log lines and the version.
    let (counters, commands) = (Counter::COUNT, Command::ALL.len());
    assert_eq!(samples, counters - 1 + commands + 2 + 3);
}

#[test]
fn unknown_paths_and_methods_are_rejected() {
    let server = ServerProcess::start(&ADMIN);
    assert_eq!(get(&server, "/healthz"), (200, "ok\n".to_string()));
    assert_eq!(get(&server, "/readyz"), (200, "ok\n".to_string()));
    assert_eq!(get(&server, "/").0, 404);
    assert_eq!(get(&server, "/metrics/").0, 404);
    let (status, response) = http_request(&server, "POST", "/healthz");
    assert_eq!(status, 405);
    assert!(
        response.to_lowercase().contains("\r\nallow: get, head\r\n"),
        "{response}"
    );
    let (status, response) = http_request(&server, "HEAD", "/healthz");
    assert_eq!(status, 200);
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn a_connection_over_the_admin_limit_evicts_the_oldest() {
    let server = ServerProcess::start(&ADMIN);
    let mut silent: Vec<_> = (0..16).map(|_| connect(&server)).collect();
    let is_closed = |stream: &mut TcpStream| matches!(stream.read(&mut [0]), Ok(0));
    assert_eq!(get(&server, "/healthz").0, 200);
    assert!(is_closed(&mut silent[0]), "the oldest");
    for stream in &silent {
        stream.set_nonblocking(true).expect("set");
    }
    wait_until("all silent connections are closed", || {
        silent.retain_mut(|stream| !is_closed(stream));
        silent.is_empty()
    });
}

#[test]
fn during_the_drain_delay_it_serves_but_is_not_ready() {
    let mut server = ServerProcess::start(&[&ADMIN[..], &["--drain-delay", "1h"]].concat());
    server.signal(Signal::SIGTERM);
    wait_until("the server is not ready", || {
        get(&server, "/readyz").0 == 503
    });
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(server.replies_to("12\n"), "Welcome to the server\n3\n");
    assert_eq!(server.signal_until_exit(Signal::SIGTERM).code(), Some(1));
}

#[test]
fn the_drain_begins_after_the_drain_delay() {
    let server = ServerProcess::start(&["--drain-delay", "100ms"]);
    server.signal(Signal::SIGINT);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let delay = log.find("stopping in 100ms").expect("the delay is logged");
    let drain = log
        .find("stopping: no new connections")
        .expect("the drain is logged");
    assert!(delay < drain, "{log}");
}

#[test]
fn admin_endpoints_are_served_until_the_last_connection_ends() {
    let server = ServerProcess::start(&[&ADMIN[..], &["--drain-timeout", "1h"]].concat());
    let mut stream = server.connect();
    // Unread replies keep the drain from ending.
    write_until_blocked(&mut stream, &b"help\n".repeat(1_000_000));
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

/// A service manager: receives the notifications of a server.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let path = temp_dir().join(format!("chime-{}-{name}", process::id()));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("set");
        Manager { socket, path }
    }

    fn receive(&self) -> String {
        let mut message = [0; 256];
        let length = retry_interrupted(|| self.socket.recv(&mut message)).expect("a notification");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // A leftover socket is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn the_service_manager_is_notified_of_start_and_shutdown() {
    let manager = Manager::new("start-and-stop");
    let mut command = command(&FLAGS);
    let server = ServerProcess::spawn(command.env("NOTIFY_SOCKET", &manager.path), 2);
    assert_eq!(manager.receive(), "READY=1\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(manager.receive(), "STOPPING=1\n");
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn an_abstract_notify_socket_is_supported() {
    let name = format!("chime-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let manager = UnixDatagram::bind_addr(&address).expect("a socket");
    manager.set_read_timeout(Some(TIMEOUT)).expect("set");
    let mut command = command(&FLAGS);
    let _server = ServerProcess::spawn(command.env("NOTIFY_SOCKET", format!("@{name}")), 2);
    let mut message = [0; 256];
    let length = retry_interrupted(|| manager.recv(&mut message)).expect("a notification");
    assert_eq!(&message[..length], b"READY=1\n");
}

#[test]
fn an_unreachable_notify_socket_is_ignored() {
    for name in [
        "",
        "@",
        "@chime-nobody",
        "/nowhere/notify",
        "relative",
        "vsock:1:2",
    ] {
        let mut command = command(&FLAGS);
        let server = ServerProcess::spawn(command.env("NOTIFY_SOCKET", name), 2);
        assert_eq!(server.replies_to("12\n"), "Welcome to the server\n3\n");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().0.code(), Some(0), "{name}");
    }
}

#[test]
fn a_full_notify_socket_does_not_delay_shutdown() {
    let manager = Manager::new("full");
    let full = UnixDatagram::unbound().expect("a socket");
    full.set_nonblocking(true).expect("set");
    while full.send_to(b"full", &manager.path).is_ok() {}
    let mut command = command(&FLAGS);
    let server = ServerProcess::spawn(command.env("NOTIFY_SOCKET", &manager.path), 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn the_watchdog_is_notified_during_the_drain() {
    let manager = Manager::new("watchdog");
    let mut command = command(&FLAGS);
    let variables = [("WATCHDOG_USEC", "100000"), ("CHIME_DRAIN_DELAY", "1h")];
    command.env("NOTIFY_SOCKET", &manager.path).envs(variables);
    let server = ServerProcess::spawn(&mut command, 2);
    assert_eq!(manager.receive(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.receive(), "WATCHDOG=1\n");
    }
    server.signal(Signal::SIGTERM);
    wait_until("the shutdown is notified", || {
        manager.receive() == "STOPPING=1\n"
    });
    assert_eq!(manager.receive(), "WATCHDOG=1\n");
}

#[test]
fn a_signal_during_startup_is_not_lost() {
    let manager = Manager::new("early-signal");
    for _ in 0..20 {
        let mut command = command(&FLAGS);
        let server = ServerProcess::spawn(command.env("NOTIFY_SOCKET", &manager.path), 0);
        let status = format!("/proc/{}/status", server.child.id());
        // Bit 14 of the mask of caught signals is SIGTERM.
        wait_until("SIGTERM is caught", || {
            let status = fs::read_to_string(&status).expect("a process");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16);
            caught.expect("a number") & (1 << 14) != 0
        });
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().0.code(), Some(0));
        assert_eq!(manager.receive(), "READY=1\n");
        assert_eq!(manager.receive(), "STOPPING=1\n");
    }
}
