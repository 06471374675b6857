//! Tests of the [threat table](README.md) against `chime-server` on loopback.
//!
//! The prefix of a test's name is its row. Tests record the figures that they measure. `cargo threats` runs the
//! tests of all rows and writes the table. No test fails because of a measured time.

#[path = "../process/activated.rs"]
mod activated;
mod batches;
mod bounds;
mod datagrams;
mod descriptor_limit;
mod descriptors;
mod drain;
mod fairness;
mod figures;
mod inherited;
mod inherited_datagrams;
mod limits;
mod load;
mod log_sinks;
mod logs;
mod probes;
#[path = "../process/mod.rs"]
mod process;
mod shutdown;
mod signals;
mod sigstop;
mod slow_readers;
mod streams;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use figures::record;
use process::{
    FLAGS, ServerProcess, TIMEOUT, command, has_ipv6, isolated, read_line, read_to_eof, wait_until,
    write_until_blocked,
};

const WELCOME: &str = "Welcome to the server\n";
const FULL: &str = "The server is full, please try again later\n";
const COMMAND_ERROR: &str = "You entered an invalid command\n";

/// Flags for the admin endpoints on a free port.
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Metrics of open and closed connections.
const OPEN: &str = "chime_connections_open";
const IDLE: &str = "chime_connections_total{outcome=\"idle\"}";
const SLOW_LINE: &str = "chime_connections_total{outcome=\"slow_line\"}";
const SLOW_READER: &str = "chime_connections_total{outcome=\"slow_reader\"}";

/// Metrics of datagrams.
const ANSWERED: &str = "chime_datagrams_total{result=\"answered\"}";
const UNSENT: &str = "chime_datagrams_total{result=\"unsent\"}";
const IGNORED: &str = "chime_datagrams_total{result=\"ignored\"}";
const LIMITED: &str = "chime_datagrams_total{result=\"limited\"}";

/// Starts a server with these flags and the admin endpoints.
fn start(flags: &[&str]) -> ServerProcess {
    ServerProcess::start(&[&ADMIN, flags].concat())
}

/// Lowers the limit of open files of a running server. At startup it would reduce its connection limit
/// accordingly.
fn limit_descriptors(server: &ServerProcess, limit: u32) {
    let status = Command::new("prlimit")
        .args(["--pid", &server.child.id().to_string()])
        .arg(format!("--nofile={limit}:{limit}"))
        .status();
    assert!(status.expect("prlimit(1) of util-linux").success());
}

/// Returns the value of a metric of a server with the admin endpoints.
fn metric(server: &ServerProcess, name: &str) -> u64 {
    let address = server.admin.expect("an admin address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set");
    let request = b"GET /metrics HTTP/1.1\r\nHost: chime\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value).expect(name)
}

/// Waits until a metric has this value.
fn wait_for_metric(server: &ServerProcess, name: &str, value: u64) {
    wait_until(&format!("{name} is {value}"), || {
        metric(server, name) == value
    });
}

/// Asserts that the server accepts a connection and replies.
fn assert_serves(server: &ServerProcess) {
    assert_eq!(server.replies_to("12345\n"), format!("{WELCOME}15\n"));
}

/// Sends a request over a connection whose welcome has been read. Returns the latency of the reply.
fn round_trip(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.write_all(b"12345\n").expect("sent");
    assert_eq!(read_line(stream), "15\n");
    start.elapsed()
}

/// Connects, and reads the welcome.
fn connect_and_read_welcome(server: &ServerProcess) -> TcpStream {
    let stream = server.connect();
    assert_eq!(read_line(&stream), WELCOME);
    stream
}

/// Returns the peak resident memory of the process (VmHWM), in kB.
fn peak_memory_kb(server: &ServerProcess) -> u64 {
    let path = format!("/proc/{}/status", server.child.id());
    let status = fs::read_to_string(path).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    number.expect("a figure").parse().expect("a number")
}

/// Returns by how much the peak grew since it was `before`, in kB. The kernel's figure is approximate: it can
/// even fall a little.
fn memory_growth_kb(server: &ServerProcess, before: u64) -> u64 {
    peak_memory_kb(server).saturating_sub(before)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
