//! HAProxy in front of two servers that are restarted or killed, with clients that never retry.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::server::{ADDRESSES, Ports, free_port, start_tcp};
use crate::{Process, TIMEOUT, folder, is_installed, record, replace, shipped, wait_until};

const CLIENTS: usize = 8;

/// Requests of a client, at least: 2,000 in total. It continues until the test ends the load.
const REQUESTS_MIN: usize = 250;

const REQUESTS_PER_CONNECTION: usize = 5;

/// The names of the servers in the configuration, in the order of [`ADDRESSES`].
const NAMES: [&str; 2] = ["one", "two"];

#[test]
fn s1_a_rolling_restart_behind_haproxy_fails_no_request() {
    if !is_installed("s1", "haproxy", "-v") {
        return;
    }
    let mut cluster = Cluster::start("s1");
    let load = Load::start(cluster.proxy.port);
    for index in 0..ADDRESSES.len() {
        cluster.servers[index].signal(Signal::SIGTERM);
        cluster.proxy.wait_for_status(NAMES[index], "DOWN");
        wait_until("the server has exited", || {
            cluster.servers[index].has_ended()
        });
        cluster.servers[index] = start_tcp(&cluster.folder, ADDRESSES[index], cluster.ports);
        cluster.proxy.wait_for_status(NAMES[index], "UP");
    }
    let (requests, failures) = load.end();
    let figure = format!("{} of {requests} requests failed", failures.len());
    record("S1", "HAProxy, rolling restart of both servers", &figure);
    assert!(failures.is_empty(), "{figure}: {failures:#?}");
}

#[test]
fn s2_a_server_killed_behind_haproxy_fails_only_open_connections() {
    if !is_installed("s2", "haproxy", "-v") {
        return;
    }
    let mut cluster = Cluster::start("s2");
    let load = Load::start(cluster.proxy.port);
    thread::sleep(Duration::from_millis(200));
    cluster.servers[0].signal(Signal::SIGKILL);
    wait_until("the server is dead", || cluster.servers[0].has_ended());
    let death = Instant::now();
    cluster.proxy.wait_for_status(NAMES[0], "DOWN");
    let (requests, mut failures) = load.end();
    let figure = format!(
        "{} of {requests} requests failed, with at most {CLIENTS} connections open",
        failures.len()
    );
    record("S2", "HAProxy, one server killed", &figure);
    assert!(failures.len() <= CLIENTS, "{figure}: {failures:#?}");
    failures.retain(|failure| failure.opened > death);
    assert!(failures.is_empty(), "opened after the kill: {failures:#?}");
}

/// Two servers behind HAProxy, which has found both to be up.
struct Cluster {
    folder: PathBuf,
    ports: Ports,
    proxy: Proxy,
    servers: Vec<Process>,
}

impl Cluster {
    fn start(test: &str) -> Cluster {
        let folder = folder(test);
        let ports = Ports::free();
        let start = |address| start_tcp(&folder, address, ports);
        let servers = ADDRESSES.into_iter().map(start).collect();
        let proxy = Proxy::start(&folder, ports);
        for name in NAMES {
            proxy.wait_for_status(name, "UP");
        }
        Cluster {
            folder,
            ports,
            proxy,
            servers,
        }
    }
}

/// HAProxy with the shipped configuration file.
struct Proxy {
    _process: Process,
    port: u16,
    /// The port of its runtime API.
    statistics_port: u16,
}

impl Proxy {
    fn start(folder: &Path, ports: Ports) -> Proxy {
        let (port, statistics_port) = (free_port(), free_port());
        let mut config = shipped("haproxy.cfg");
        for (from, to) in [
            ("bind :9990", format!("bind 127.0.0.1:{port}")),
            (
                "192.0.2.1:9990",
                format!("{}:{}", ADDRESSES[0], ports.service),
            ),
            (
                "192.0.2.2:9990",
                format!("{}:{}", ADDRESSES[1], ports.service),
            ),
            ("connect port 9991", format!("connect port {}", ports.admin)),
            (
                "/run/haproxy/admin.sock mode 660",
                format!("ipv4@127.0.0.1:{statistics_port}"),
            ),
            // Each connection needs more than two file descriptors.
            ("maxconn 4096", "maxconn 100".to_string()),
            ("inter 500ms", "inter 50ms".to_string()),
        ] {
            config = replace(&config, from, &to);
        }
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config).expect("written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        let log = fs::File::create(folder.join("haproxy.log")).expect("a log");
        let stdout = log.try_clone().expect("cloned");
        let process = Process::start(command.stdin(Stdio::null()).stdout(stdout).stderr(log));
        wait_until("the runtime API of HAProxy listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, statistics_port)).is_ok()
        });
        Proxy {
            _process: process,
            port,
            statistics_port,
        }
    }

    fn wait_for_status(&self, name: &str, status: &str) {
        wait_until(&format!("HAProxy reports {name} {status}"), || {
            self.status(name).starts_with(status)
        });
    }

    /// Returns the status of a server in the statistics of HAProxy.
    fn status(&self, name: &str) -> String {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.statistics_port)).expect("connected");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        stream.write_all(b"show stat\n").expect("sent");
        let mut table = String::new();
        stream.read_to_string(&mut table).expect("a table");
        let mut rows = table
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>());
        let headings = rows.next().expect("headings");
        let column = headings
            .iter()
            .position(|heading| *heading == "status")
            .expect("a column");
        let mut servers = rows.filter(|row| row.get(1) == Some(&name));
        servers.next().expect("a server")[column].to_string()
    }
}

/// Clients that send requests continuously.
struct Load {
    clients: Vec<JoinHandle<(usize, Vec<Failure>)>>,
    is_over: Arc<AtomicBool>,
}

/// A request without a reply, which ends its connection.
#[derive(Debug)]
struct Failure {
    opened: Instant,
    #[expect(dead_code, reason = "printed by Debug")]
    cause: String,
}

impl Load {
    fn start(port: u16) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                let (mut requests, mut failures) = (0, Vec::new());
                while requests < REQUESTS_MIN || !is_over.load(Ordering::Relaxed) {
                    let opened = Instant::now();
                    if let Err(cause) = run_connection(port, &mut requests) {
                        failures.push(Failure { opened, cause });
                    }
                }
                (requests, failures)
            })
        };
        Load {
            clients: (0..CLIENTS).map(client).collect(),
            is_over,
        }
    }

    /// Stops the clients. Returns the number of requests and the failures.
    fn end(self) -> (usize, Vec<Failure>) {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut requests, mut failures) = (0, Vec::new());
        for client in self.clients {
            let (more_requests, more_failures) = client.join().expect("no panic");
            requests += more_requests;
            failures.extend(more_failures);
        }
        (requests, failures)
    }
}

/// Opens a connection, sends requests one at a time, and closes it. Adds to `requests`.
fn run_connection(port: u16, requests: &mut usize) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    // A missing welcome counts as a failure of the first request.
    *requests += 1;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    let mut replies = BufReader::new(&stream);
    let mut expect = |end: &str| {
        let mut line = String::new();
        replies.read_line(&mut line).map_err(failed)?;
        match line.ends_with(end) {
            true => Ok(()),
            false => Err(format!("{line:?} instead of {end:?}")),
        }
    };
    expect("Welcome to the server\n")?;
    for index in 0..REQUESTS_PER_CONNECTION {
        *requests += usize::from(index > 0);
        (&stream).write_all(b"day\n").map_err(failed)?;
        expect("day\n")?;
        // Paces the load.
        thread::sleep(Duration::from_millis(1));
    }
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    expect("")
}
