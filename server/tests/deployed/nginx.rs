//! nginx in front of two UDP servers, one of which is killed.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::server::{ADDRESSES, free_port, start_udp};
use crate::{
    Process, TIMEOUT, folder, is_installed, record, replace, report_skipped, shipped, wait_until,
};

/// The stream module, which the shipped file loads: nginx needs it to proxy UDP.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const CLIENTS: usize = 4;

/// Requests of a client, at least. It continues until the server has been killed.
const REQUESTS_MIN: usize = 500;

/// How long chime's client waits for a reply after each of its three attempts.
const TIMEOUTS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

#[test]
fn s3_a_server_killed_behind_nginx_fails_no_retried_request() {
    if !is_nginx_installed("s3") {
        return;
    }
    let folder = folder("s3");
    let (port, server_port) = (free_port(), free_port());
    let mut servers = ADDRESSES.map(|address| start_udp(&folder, address, server_port));
    let _proxy = start_proxy(&folder, port, server_port);
    wait_until("nginx forwards requests", || {
        request_with_retries(port, &[Duration::from_millis(200)]).is_some()
    });

    let (requests, is_killed) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let client = |_| {
        let (requests, is_killed) = (Arc::clone(&requests), Arc::clone(&is_killed));
        thread::spawn(move || {
            let mut attempts = Vec::new();
            let mut after_kill = 0;
            let start = Instant::now();
            while after_kill < REQUESTS_MIN / 2 || attempts.len() < REQUESTS_MIN {
                after_kill += usize::from(is_killed.load(Ordering::Relaxed));
                attempts.push(request_with_retries(port, &TIMEOUTS));
                assert!(start.elapsed() < TIMEOUT, "too many retries");
                requests.fetch_add(1, Ordering::Relaxed);
            }
            attempts
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    wait_until("a quarter of the requests have replies", || {
        requests.load(Ordering::Relaxed) > CLIENTS * REQUESTS_MIN / 4
    });
    servers[0].signal(Signal::SIGKILL);
    wait_until("the server is dead", || servers[0].has_ended());
    is_killed.store(true, Ordering::Relaxed);

    let results = clients
        .into_iter()
        .map(|client| client.join().expect("no panic"));
    let attempts: Vec<_> = results.flatten().collect();
    let failed = attempts.iter().filter(|count| count.is_none()).count();
    let retried = attempts
        .iter()
        .filter(|count| count.is_some_and(|count| count > 1))
        .count();
    let figure = format!(
        "{failed} of {} requests failed, {retried} were retried",
        attempts.len()
    );
    record("S3", "nginx, one server killed", &figure);
    assert_eq!(failed, 0, "{figure}");
    assert!(!servers[1].has_ended(), "the other server has exited");
}

#[test]
fn ignored_datagrams_do_not_mark_a_server_down_behind_nginx() {
    if !is_nginx_installed("ignored_datagrams") {
        return;
    }
    let folder = folder("ignored");
    let (port, server_port) = (free_port(), free_port());
    let _servers = ADDRESSES.map(|address| start_udp(&folder, address, server_port));
    let _proxy = start_proxy(&folder, port, server_port);
    wait_until("nginx forwards requests", || {
        request_with_retries(port, &[Duration::from_millis(200)]).is_some()
    });
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    for _ in 0..100 {
        other
            .send_to(b"what?", (Ipv4Addr::LOCALHOST, port))
            .expect("sent");
        thread::sleep(Duration::from_millis(10));
    }
    // By now nginx has counted most of these as timeouts, of both servers.
    assert_eq!(request_with_retries(port, &TIMEOUTS), Some(1), "attempts");
}

/// Returns whether nginx and its stream module, which is a separate package, are installed.
fn is_nginx_installed(test: &str) -> bool {
    if !is_installed(test, "nginx", "-v") {
        return false;
    }
    let module = Path::new(MODULE);
    if !module.exists() {
        report_skipped(test, MODULE);
    }
    module.exists()
}

fn start_proxy(folder: &Path, port: u16, server_port: u16) -> Process {
    let mut config = shipped("nginx.conf");
    assert!(config.contains(MODULE), "{MODULE} is not loaded");
    for (from, to) in [
        ("listen 8089", format!("listen 127.0.0.1:{port}")),
        ("192.0.2.1:8089", format!("{}:{server_port}", ADDRESSES[0])),
        ("192.0.2.2:8089", format!("{}:{server_port}", ADDRESSES[1])),
        (
            "/run/nginx.pid",
            folder.join("nginx.pid").display().to_string(),
        ),
        (
            "/var/log/nginx/error.log",
            folder.join("nginx.log").display().to_string(),
        ),
    ] {
        config = replace(&config, from, &to);
    }
    let file = folder.join("nginx.conf");
    fs::write(&file, config).expect("written");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).args(["-g", "daemon off;"]);
    Process::start(command.stdin(Stdio::null()).stderr(Stdio::null()))
}

/// Sends a request with retries, as chime's client does. Returns the number of attempts if it gets a reply.
fn request_with_retries(port: u16, timeouts: &[Duration]) -> Option<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket
        .connect((Ipv4Addr::LOCALHOST, port))
        .expect("connected");
    let is_answered = |timeout: &Duration| {
        // An earlier ICMP error may be reported here.
        let _ = socket.send(b"day");
        is_answered_within(&socket, *timeout)
    };
    Some(timeouts.iter().position(is_answered)? + 1)
}

/// Returns whether a reply arrives in time. Empty datagrams are skipped: nginx sends one when the port of
/// a server is unreachable.
fn is_answered_within(socket: &UdpSocket, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let mut reply = [0; 64];
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return false;
        }
        socket.set_read_timeout(Some(remaining)).expect("set");
        let length = socket.recv(&mut reply).unwrap_or(0);
        if reply[..length].ends_with(b"day") {
            return true;
        }
    }
}
