//! The threats of the [table](README.md) against `chime-server` on loopback.
//!
//! A test is named for its row, and writes down what it measures. The command `table` beside this file
//! runs the tests of all rows and writes the table. No time that is measured decides a test.

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
mod signals;
mod slow_readers;
mod stop;
mod stopped;
mod streams;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use figures::record;
use process::{
    FLAGS, PATIENCE, Server, command, read_line, rest_of, wait_until, write_until_stopped,
};

const WELCOME: &str = "Welcome to the server\n";
const FULL: &str = "The server is full, please try again later\n";
const COMMAND_ERROR: &str = "You entered an invalid command\n";

/// The flag for the pages that show what a server has counted.
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// How many connections are open, and how others have ended.
const OPEN: &str = "chime_connections_open";
const IDLE: &str = "chime_connections_total{outcome=\"idle\"}";
const SLOW_LINE: &str = "chime_connections_total{outcome=\"slow_line\"}";
const SLOW_READER: &str = "chime_connections_total{outcome=\"slow_reader\"}";

/// What has become of datagrams.
const ANSWERED: &str = "chime_datagrams_total{result=\"answered\"}";
const UNSENT: &str = "chime_datagrams_total{result=\"unsent\"}";
const IGNORED: &str = "chime_datagrams_total{result=\"ignored\"}";
const LIMITED: &str = "chime_datagrams_total{result=\"limited\"}";

/// Starts a server with these flags and the pages that show what it has counted.
fn start(flags: &[&str]) -> Server {
    Server::start(&[&ADMIN, flags].concat())
}

/// The value of a metric of a server that was started with [`ADMIN`].
fn metric(server: &Server, name: &str) -> u64 {
    let address = server.admin.expect("an admin address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let request = b"GET /metrics HTTP/1.1\r\nHost: chime\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value).expect(name)
}

/// Waits until a metric has this value.
fn wait_for(server: &Server, name: &str, value: u64) {
    wait_until(&format!("{name} is {value}"), || {
        metric(server, name) == value
    });
}

/// That the server still serves.
fn assert_serves(server: &Server) {
    assert_eq!(server.converse("12345\n"), format!("{WELCOME}15\n"));
}

/// Asks once over a connection whose welcome has been read; returns how long the reply took.
fn ask(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.write_all(b"12345\n").expect("sent");
    assert_eq!(read_line(stream), "15\n");
    start.elapsed()
}

/// Connects, and reads the welcome.
fn welcomed(server: &Server) -> TcpStream {
    let stream = server.connect();
    assert_eq!(read_line(&stream), WELCOME);
    stream
}

/// The most memory that the process ever had, in kB.
fn peak_memory_kb(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.child.id());
    let status = fs::read_to_string(path).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    number.expect("a figure").parse().expect("a number")
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
