//! The load that the servers are put under.

use std::env;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::server::{ALL_CORES, Offer, Server};

/// The core on which the load is made.
const CORE: usize = 1;

/// How long each server is measured in each round.
const DURATION: Duration = Duration::from_secs(1);

/// Bytes of the long line of digits.
const DIGITS: usize = 256 << 20;

/// Datagrams on their way at a time, and how long is waited for the lost.
const DATAGRAMS: usize = 32;
const DATAGRAM_WAIT: Duration = Duration::from_millis(200);

/// How long connections are given to settle before memory is measured.
const SETTLE: Duration = Duration::from_millis(500);

/// The load generator.
pub(crate) struct Load {
    client: PathBuf,
}

impl Load {
    /// Builds it, and moves this process to the core of the load.
    pub(crate) fn build() -> io::Result<Load> {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--package", "chime-client"])
            .status()?;
        if !built.success() {
            return Err(io::Error::other("cannot build chime-client"));
        }
        let mut cores = CpuSet::new();
        cores.set(CORE)?;
        sched_setaffinity(Pid::this(), &cores)?;
        // This program stands in the folder `deps` beside it.
        let deps = env::current_exe()?;
        let folder = deps.ancestors().nth(2).expect("target/release/deps");
        Ok(Load {
            client: folder.join("chime-client"),
        })
    }

    /// Replies a second, with so many requests on their way on each of 50 connections.
    pub(crate) fn lines(&self, server: &Server, in_flight: u32) -> io::Result<f64> {
        let report = self.bench(server, &["--in-flight", &in_flight.to_string()])?;
        number(&report, "requests_per_second")
    }

    /// Connections a second that are opened, greeted, asked once and closed.
    pub(crate) fn visits(&self, server: &Server) -> io::Result<f64> {
        number(&self.bench(server, &["--churn"])?, "requests_per_second")
    }

    /// The 99th percentile of the latency at this rate, in seconds.
    pub(crate) fn latency(&self, server: &Server, rate: u64) -> io::Result<f64> {
        let report = self.bench(server, &["--rate", &rate.to_string()])?;
        Ok(number(&report, "latency_p99_us")? / 1e6)
    }

    fn bench(&self, server: &Server, load: &[&str]) -> io::Result<Value> {
        let mut client = Command::new(&self.client);
        if server.offers == [Offer::AllCores] {
            client = Command::new("taskset");
            client.args(["-c", ALL_CORES]).arg(&self.client);
        }
        let output = client
            .args(["--server", &server.address, "bench", "--json"])
            .args([
                "--warm-up",
                "200ms",
                "--duration",
                &format!("{}s", DURATION.as_secs()),
            ])
            .args(server.load)
            .args(load)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            let what = format!("the load on {} ended with {}", server.name, output.status);
            return Err(io::Error::other(what));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Replies a second to datagrams, of which a few are on their way at a time; and how many were lost.
    pub(crate) fn datagrams(&self, server: &Server) -> io::Result<(f64, f64)> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(&server.address)?;
        socket.set_read_timeout(Some(DATAGRAM_WAIT))?;
        let descriptor = socket.as_raw_fd();
        let mut sent: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(DATAGRAMS, None);
        let mut received: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(DATAGRAMS, None);
        let requests = [[IoSlice::new(server.datagram)]; DATAGRAMS];
        let (mut replies, mut lost, mut room) = (0, 0, DATAGRAMS);
        let begin = Instant::now();
        while begin.elapsed() < DURATION {
            let to = vec![None; room];
            sendmmsg(
                descriptor,
                &mut sent,
                &requests[..room],
                to,
                [],
                MsgFlags::empty(),
            )?;
            let mut blocks = [[0; 128]; DATAGRAMS];
            let mut slices = blocks.each_mut().map(|block| [IoSliceMut::new(block)]);
            let flags = MsgFlags::MSG_WAITFORONE;
            room = match recvmmsg(descriptor, &mut received, &mut slices, flags, None) {
                Ok(come) => come.count(),
                Err(_) => {
                    lost += DATAGRAMS;
                    DATAGRAMS
                }
            };
            replies += room;
        }
        let rate = (replies - lost) as f64 / begin.elapsed().as_secs_f64();
        Ok((rate, lost as f64))
    }

    /// Bytes a second of a long line of digits, until its sum has come.
    pub(crate) fn digits(&self, server: &Server) -> io::Result<f64> {
        let mut stream = TcpStream::connect(&server.address)?;
        read_line(&mut stream)?;
        let block = vec![b'9'; 1 << 16];
        let begin = Instant::now();
        for _ in 0..DIGITS / block.len() {
            stream.write_all(&block)?;
        }
        stream.write_all(b"\n")?;
        read_line(&mut stream)?;
        Ok(DIGITS as f64 / begin.elapsed().as_secs_f64())
    }
}

/// The private memory of the server that a connection takes which has been greeted and says nothing.
pub(crate) fn idle_bytes(server: &Server, count: usize) -> io::Result<f64> {
    let connect = || {
        let mut stream = TcpStream::connect(&server.address)?;
        if !server.load.contains(&"--greeting-lines") {
            read_line(&mut stream)?;
        }
        io::Result::Ok(stream)
    };
    // What the first ones take is taken once.
    let first: Vec<TcpStream> = (0..100).map(|_| connect()).collect::<Result<_, _>>()?;
    sleep(SETTLE);
    let before = server.private_bytes()?;
    let more: Vec<TcpStream> = (0..count).map(|_| connect()).collect::<Result<_, _>>()?;
    sleep(SETTLE);
    let after = server.private_bytes()?;
    drop((first, more));
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

fn read_line(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    Ok(())
}

fn number(report: &Value, name: &str) -> io::Result<f64> {
    let number = report[name].as_f64();
    number.ok_or_else(|| io::Error::other(format!("no {name} in the report of the load")))
}
