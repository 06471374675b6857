//! The server, and what it takes of the machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::memory::private_bytes;

/// Limits short enough to be reached many times.
const FLAGS: [&str; 12] = [
    "--tcp",
    "127.0.0.1:0",
    "--udp",
    "127.0.0.1:0",
    "--idle-timeout",
    "10s",
    "--line-timeout",
    "5s",
    "--write-timeout",
    "5s",
    "--log",
    "warn",
];

/// A server that runs until it is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

/// What a process takes.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Memory that is this process's alone.
    pub(crate) memory_kb: u64,
    pub(crate) descriptors: usize,
}

impl Server {
    pub(crate) fn start() -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_chime-server"))
            .args(FLAGS)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stdout = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut address = || {
            let line = lines.next().expect("a line").expect("text");
            let address = line.rsplit(' ').next().expect("a word");
            address.parse().expect("an address")
        };
        let (tcp, udp) = (address(), address());
        Server { process, tcp, udp }
    }

    /// What it takes once it has no more than so many descriptors, or after so long.
    pub(crate) fn settled(&self, descriptors_max: usize, wait_max: Duration) -> Usage {
        let begin = Instant::now();
        let mut last = self.usage();
        loop {
            sleep(Duration::from_millis(200));
            let usage = self.usage();
            let is_steady = usage.descriptors == last.descriptors;
            let is_low = usage.descriptors <= descriptors_max || descriptors_max == 1;
            if is_steady && is_low || begin.elapsed() > wait_max {
                return usage;
            }
            last = usage;
        }
    }

    fn usage(&self) -> Usage {
        let memory = private_bytes(&self.process).expect("a process");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        Usage {
            memory_kb: memory / 1024,
            descriptors: descriptors.expect("a process").count(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the clients have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
