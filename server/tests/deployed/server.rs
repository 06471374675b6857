//! Chime servers behind a proxy: the same ports on several loopback addresses.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::{Process, isolated, wait_until};

/// The addresses of the servers `one` and `two`.
pub(crate) const ADDRESSES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];

/// The ports of the servers of a test: the same for each.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) service: u16,
    pub(crate) admin: u16,
}

impl Ports {
    pub(crate) fn free() -> Ports {
        Ports {
            service: free_port(),
            admin: free_port(),
        }
    }
}

/// Returns a port that is free on all [`ADDRESSES`].
///
/// It is below the ephemeral range: otherwise a connection could take the port while its server is
/// restarted.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(process::id() % 20_000).expect("less than 20,000");
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let is_free = |address| {
            TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok()
        };
        if ADDRESSES.into_iter().all(is_free) {
            return port;
        }
    }
}

/// Starts a TCP server that requires PROXY headers, and waits until it serves.
pub(crate) fn start_tcp(folder: &Path, address: Ipv4Addr, ports: Ports) -> Process {
    let config = folder.join(format!("{address}.toml"));
    let listener = format!(
        "[[listener]]\naddress = \"{address}:{}\"\ntransport = \"tcp\"\nproxies = [\"127.0.0.0/8\"]\n",
        ports.service
    );
    fs::write(&config, listener).expect("written");
    let admin = format!("{address}:{}", ports.admin);
    let config = config.to_str().expect("a path in UTF-8");
    let flags = ["--config", config, "--admin", &admin, "--drain-delay", "1s"];
    start(folder, address, &flags)
}

/// Starts a UDP server, and waits until it serves.
pub(crate) fn start_udp(folder: &Path, address: Ipv4Addr, port: u16) -> Process {
    let udp = format!("{address}:{port}");
    start(folder, address, &["--no-tcp", "--udp", &udp])
}

fn start(folder: &Path, address: Ipv4Addr, flags: &[&str]) -> Process {
    let log = folder.join(format!("{address}.log"));
    let output = File::create(&log).expect("a log");
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    command.arg("--utc").args(flags);
    command.stdout(output.try_clone().expect("cloned"));
    let server = Process::start(command.stderr(output));
    wait_until_it_serves(&log);
    server
}

/// Waits until the log announces the sockets.
pub(crate) fn wait_until_it_serves(log: &Path) {
    wait_until("the server serves", || {
        let log = fs::read_to_string(log).expect("a log");
        assert!(
            !log.contains("error:") && !log.contains("chime-server:"),
            "{log}"
        );
        log.contains("listening on ")
    });
}
