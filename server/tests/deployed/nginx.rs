//! nginx before two servers for UDP, one of which is killed.

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
    PATIENCE, Process, folder, is_installed, record, replace, shipped, tell_skipped, wait_until,
};

/// Where the shipped file loads the carrier of UDP from.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const CLIENTS: usize = 4;

/// Requests of a client. It goes on until the server is dead.
const REQUESTS_MIN: usize = 500;

/// How often chime's client sends a request, and how long it waits each time.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

#[test]
fn s3_a_server_killed_behind_nginx_fails_no_request_that_is_sent_again() {
    if !is_nginx_installed("s3") {
        return;
    }
    let folder = folder("s3");
    let (port, server_port) = (free_port(), free_port());
    let mut servers = ADDRESSES.map(|address| start_udp(&folder, address, server_port));
    let _proxy = start_proxy(&folder, port, server_port);
    wait_until("nginx answers", || {
        ask(port, &[Duration::from_millis(200)]).is_some()
    });

    let (asked, is_dead) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let client = |_| {
        let (asked, is_dead) = (Arc::clone(&asked), Arc::clone(&is_dead));
        thread::spawn(move || {
            let mut tries = Vec::new();
            let mut after_death = 0;
            let start = Instant::now();
            while after_death < REQUESTS_MIN / 2 || tries.len() < REQUESTS_MIN {
                after_death += usize::from(is_dead.load(Ordering::Relaxed));
                tries.push(ask(port, &WAITS));
                assert!(start.elapsed() < PATIENCE, "too many have to ask again");
                asked.fetch_add(1, Ordering::Relaxed);
            }
            tries
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    wait_until("all is well for a while", || {
        asked.load(Ordering::Relaxed) > CLIENTS * REQUESTS_MIN / 4
    });
    servers[0].signal(Signal::SIGKILL);
    wait_until("the server is dead", || servers[0].has_ended());
    is_dead.store(true, Ordering::Relaxed);

    let results = clients
        .into_iter()
        .map(|client| client.join().expect("no panic"));
    let tries: Vec<_> = results.flatten().collect();
    let failed = tries.iter().filter(|tries| tries.is_none()).count();
    let again = tries
        .iter()
        .filter(|tries| tries.is_some_and(|tries| tries > 1))
        .count();
    let figure = format!(
        "{failed} of {} requests failed, {again} were sent again",
        tries.len()
    );
    record("S3", "nginx, one server killed", &figure);
    assert_eq!(failed, 0, "{figure}");
    assert!(!servers[1].has_ended(), "the other server is gone too");
}

#[test]
fn what_is_no_request_shuts_out_nobody_behind_nginx() {
    if !is_nginx_installed("what_is_no_request") {
        return;
    }
    let folder = folder("silence");
    let (port, server_port) = (free_port(), free_port());
    let _servers = ADDRESSES.map(|address| start_udp(&folder, address, server_port));
    let _proxy = start_proxy(&folder, port, server_port);
    wait_until("nginx answers", || {
        ask(port, &[Duration::from_millis(200)]).is_some()
    });
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    for _ in 0..100 {
        stranger
            .send_to(b"what?", (Ipv4Addr::LOCALHOST, port))
            .expect("sent");
        thread::sleep(Duration::from_millis(10));
    }
    // By now most of those have timed out, on both servers.
    assert_eq!(ask(port, &WAITS), Some(1), "answered at the first try");
}

/// nginx alone does not carry UDP: the module is a package of its own.
fn is_nginx_installed(test: &str) -> bool {
    if !is_installed(test, "nginx", "-v") {
        return false;
    }
    let module = Path::new(MODULE);
    if !module.exists() {
        tell_skipped(test, MODULE);
    }
    module.exists()
}

fn start_proxy(folder: &Path, port: u16, server_port: u16) -> Process {
    let mut config = shipped("nginx.conf");
    assert!(config.contains(MODULE), "another module is loaded");
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

/// Asks as chime's client does; returns at which try there was an answer.
fn ask(port: u16, waits: &[Duration]) -> Option<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket
        .connect((Ipv4Addr::LOCALHOST, port))
        .expect("connected");
    let is_answered = |wait: &Duration| {
        // An error that says that nobody listens may pass.
        let _ = socket.send(b"day");
        is_answered_within(&socket, *wait)
    };
    Some(waits.iter().position(is_answered)? + 1)
}

/// Whether there is an answer in time. An empty datagram is none: nginx sends it for a server that
/// refused the request.
fn is_answered_within(socket: &UdpSocket, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    let mut reply = [0; 64];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        socket.set_read_timeout(Some(left)).expect("set");
        let length = socket.recv(&mut reply).unwrap_or(0);
        if reply[..length].ends_with(b"day") {
            return true;
        }
    }
}
