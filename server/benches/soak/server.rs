//! The server process, and its use of memory and file descriptors.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::memory::private_bytes;

/// Timeouts short enough to be reached many times.
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

/// A running server. Dropping it kills the process.
pub(crate) struct ServerProcess {
    process: Child,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

/// The resources of a process.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Private memory.
    pub(crate) memory_kb: u64,
    pub(crate) descriptors: usize,
}

impl ServerProcess {
    pub(crate) fn start() -> ServerProcess {
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
        ServerProcess { process, tcp, udp }
    }

    /// Waits until the number of file descriptors is steady and at most `descriptors_max`, or until
    /// `wait_max` has passed. Returns the usage.
    pub(crate) fn settled(&self, descriptors_max: usize, wait_max: Duration) -> Usage {
        let begin = Instant::now();
        let mut last = self.usage();
        loop {
            sleep(Duration::from_millis(200));
            let usage = self.usage();
            let is_steady = usage.descriptors == last.descriptors;
            let is_low = usage.descriptors <= descriptors_max;
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

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Fails only if the process has exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
