//! The load generators: `chime-client bench`, and loops for datagrams, long lines and idle connections.

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

use crate::server::{ALL_CORES, MeasuredServer, Workload};

/// The core of the load generator. Servers run on the other.
const CORE: usize = 1;

/// Duration of a measurement of one server.
const DURATION: Duration = Duration::from_secs(1);

/// Duration with hundreds of connections: each of 2,000 must receive hundreds of replies.
const LONG_DURATION: Duration = Duration::from_secs(3);

/// Connections, unless the title of the row says otherwise.
const CONNECTIONS: u16 = 50;

/// Bytes of the long line of digits.
const DIGITS: usize = 256 << 20;

/// Datagrams in flight, and the time without a reply after which they count as lost.
const DATAGRAMS: usize = 32;
const DATAGRAM_WAIT: Duration = Duration::from_millis(200);

/// Delay between opening connections and measuring memory.
const SETTLE: Duration = Duration::from_millis(500);

/// The figures of a closed loop: each connection sends a request when a reply arrives.
pub(crate) struct ClosedLoop {
    pub(crate) replies_per_second: f64,
    /// 99th percentile of the latency, in seconds. Requests without a reply at the end count with their age.
    pub(crate) latency_p99: f64,
    /// Jain's fairness index of the replies per connection.
    pub(crate) fairness: f64,
    /// Fewest replies of a connection, as a percentage of the most.
    pub(crate) fewest_percent: f64,
}

/// The load generator.
pub(crate) struct Load {
    client: PathBuf,
}

impl Load {
    /// Builds `chime-client`, and pins this process to the core of the load.
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
        // The executable of this benchmark is in the folder `deps` beside the client.
        let deps = env::current_exe()?;
        let folder = deps.ancestors().nth(2).expect("target/release/deps");
        Ok(Load {
            client: folder.join("chime-client"),
        })
    }

    /// Returns replies per second of 50 connections, with `in_flight` requests in flight on each.
    pub(crate) fn lines(&self, server: &MeasuredServer, in_flight: u32) -> io::Result<f64> {
        let load = ["--in-flight", &in_flight.to_string()];
        let report = self.bench(server, CONNECTIONS, DURATION, &load)?;
        number(&report, "requests_per_second")
    }

    /// Measures many connections, with `in_flight` requests in flight on each.
    pub(crate) fn closed_loop(
        &self,
        server: &MeasuredServer,
        connections: u16,
        in_flight: u32,
    ) -> io::Result<ClosedLoop> {
        let load = ["--in-flight", &in_flight.to_string()];
        let report = self.bench(server, connections, LONG_DURATION, &load)?;
        let fewest = number(&report, "replies_per_connection_min")?;
        let most = number(&report, "replies_per_connection_max")?;
        Ok(ClosedLoop {
            replies_per_second: number(&report, "requests_per_second")?,
            latency_p99: number(&report, "latency_p99_us")? / 1e6,
            fairness: number(&report, "fairness")?,
            fewest_percent: 100.0 * fewest / most,
        })
    }

    /// Returns the CPU time of the server in seconds for a connection with a greeting, one request, its reply and a close.
    pub(crate) fn short_connections(&self, server: &MeasuredServer) -> io::Result<f64> {
        let before = server.cpu_time()?;
        let report = self.bench(server, CONNECTIONS, LONG_DURATION, &["--churn"])?;
        let seconds = (server.cpu_time()? - before).as_secs_f64();
        Ok(seconds / number(&report, "requests")?)
    }

    /// Returns the 90th and the 99th percentile of the latency in seconds, open loop at `rate` requests per second.
    pub(crate) fn latencies(&self, server: &MeasuredServer, rate: u64) -> io::Result<[f64; 2]> {
        let load = ["--rate", &rate.to_string()];
        let report = self.bench(server, CONNECTIONS, DURATION, &load)?;
        let seconds = |name| number(&report, name).map(|us| us / 1e6);
        Ok([seconds("latency_p90_us")?, seconds("latency_p99_us")?])
    }

    /// Runs `chime-client bench`, and returns its JSON report.
    fn bench(
        &self,
        server: &MeasuredServer,
        connections: u16,
        duration: Duration,
        load: &[&str],
    ) -> io::Result<Value> {
        let mut client = Command::new(&self.client);
        if server.workloads == [Workload::LinesAllCores] {
            client = Command::new("taskset");
            client.args(["-c", ALL_CORES]).arg(&self.client);
        }
        // CPU time includes the warm-up.
        let warm_up = if load == ["--churn"] { "0s" } else { "200ms" };
        let output = client
            .args(["--server", &server.address, "bench", "--json"])
            .args(["--warm-up", warm_up])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{}s", duration.as_secs())])
            .args(server.load)
            .args(load)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            let status = output.status;
            return Err(io::Error::other(format!("chime-client bench: {status}")));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Returns replies per second with 32 datagrams in flight, and the number of datagrams lost.
    pub(crate) fn datagrams(&self, server: &MeasuredServer) -> io::Result<(f64, f64)> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(&server.address)?;
        socket.set_read_timeout(Some(DATAGRAM_WAIT))?;
        let descriptor = socket.as_raw_fd();
        let mut sent: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(DATAGRAMS, None);
        let mut received: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(DATAGRAMS, None);
        let requests = [[IoSlice::new(server.datagram)]; DATAGRAMS];
        let (mut replies, mut lost, mut count) = (0, 0, DATAGRAMS);
        let begin = Instant::now();
        while begin.elapsed() < DURATION {
            let to = vec![None; count];
            sendmmsg(
                descriptor,
                &mut sent,
                &requests[..count],
                to,
                [],
                MsgFlags::empty(),
            )?;
            let mut blocks = [[0; 128]; DATAGRAMS];
            let mut slices = blocks.each_mut().map(|block| [IoSliceMut::new(block)]);
            let flags = MsgFlags::MSG_WAITFORONE;
            count = match recvmmsg(descriptor, &mut received, &mut slices, flags, None) {
                Ok(messages) => messages.count(),
                Err(_) => {
                    lost += DATAGRAMS;
                    DATAGRAMS
                }
            };
            replies += count;
        }
        let rate = (replies - lost) as f64 / begin.elapsed().as_secs_f64();
        Ok((rate, lost as f64))
    }

    /// Returns bytes per second of one long line of digits, until the reply arrives.
    pub(crate) fn digits(&self, server: &MeasuredServer) -> io::Result<f64> {
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

/// Returns the private memory of the server per idle connection, in bytes, measured over `count` of them.
pub(crate) fn idle_bytes(server: &MeasuredServer, count: usize) -> io::Result<f64> {
    let connect = || {
        let mut stream = TcpStream::connect(&server.address)?;
        if !server.load.contains(&"--greeting-lines") {
            read_line(&mut stream)?;
        }
        io::Result::Ok(stream)
    };
    // The first connections also allocate shared memory.
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
    number
        .ok_or_else(|| io::Error::other(format!("chime-client bench: {name} is not in the report")))
}
