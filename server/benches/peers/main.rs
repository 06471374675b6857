//! Benchmark: throughput, latency, fairness and memory of chime and its peers on this machine.
//!
//! `cargo bench -p chime-server --bench peers` starts chime, bare event loops, and every installed peer:
//! `apt-get install redis-server memcached chrony xinetd python3`. Servers run on the first core, the load
//! generator on the second, unless the title of a row says that they share all cores.
//!
//! In each round every server is measured once, one after the other. The report shows the median of the
//! rounds, and the median, minimum and maximum of the ratio chime / peer of each round. It is written to
//! `server/benches/peers.txt` and plotted in `server/benches/peers.svg`. The exit code is 1 if a figure is
//! missing.
//!
//! `cargo bench -p chime-server --bench peers -- 15` runs 15 rounds instead of 5.

mod bare;
mod cpu;
mod load;
mod memory;
mod report;
mod server;

use std::env;
use std::io;
use std::process::ExitCode;

use load::{Load, idle_bytes};
use report::{Goal, Report, Unit};
use server::{MeasuredServer, Workload};

/// Default number of rounds.
const ROUNDS: usize = 5;

/// Idle connections for the memory row; fewer for servers with a thread per connection.
const IDLE_CONNECTIONS: usize = 10_000;
const IDLE_THREADS: usize = 500;

/// Connections of the fairness rows, and requests in flight on each.
const MANY_CONNECTIONS: [u16; 2] = [500, 2000];
const MANY_IN_FLIGHT: u32 = 16;

/// Measurements of each server in the open loop per round. Where the machine pauses for more than 1 % of the time, as
/// virtual machines do, the 99th percentile shows its pauses, and only the 90th repeats.
const OPEN_LOOP_TURNS: usize = 5;

/// The server to which most goals compare chime.
const BARE: &str = "bare loop";

/// Requests in flight of the throughput rows, and the goals: throughput of chime / throughput of the bare loop.
const IN_FLIGHT: [(u32, f64); 3] = [(1, 0.95), (16, 0.93), (100, 0.93)];

/// Goals of the rows with hundreds of connections: Jain's index, and ratios to the bare loop.
const FAIRNESS_MIN: f64 = 0.99;
const MANY_RATIO_MIN: f64 = 0.93;
const P99_RATIO_MAX: f64 = 1.5;

/// Goals of the other rows: ratios to the bare loop, to redis and to memcached.
const CONNECTION_TIME_RATIO_MAX: f64 = 1.03;
const DATAGRAMS_RATIO_MIN: f64 = 0.97;
const OPEN_LOOP_RATIO_MAX: f64 = 1.0;
const MEMORY_RATIO_MAX: f64 = 1.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["serve-lines", address] => bare::serve_lines(address),
        ["serve-sessions", address] => bare::serve_sessions(address),
        ["serve-discard", address] => bare::serve_discard(address),
        ["serve-datagrams", address] => bare::serve_datagrams(address),
        [] => measure(ROUNDS),
        [rounds] => match rounds.parse() {
            Ok(rounds) => measure(rounds),
            Err(_) => Err(io::Error::other(format!(
                "not a number of rounds: {rounds}"
            ))),
        },
        _ => Err(io::Error::other(
            "expected at most one argument, the number of rounds",
        )),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(rounds: usize) -> io::Result<()> {
    let (servers, left_out) = server::start_all()?;
    let load = Load::build()?;
    let mut report = Report::new(rounds, left_out, &server::LEGEND)?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        measure_streams(&load, &servers, &mut report);
        measure_many(&load, &servers, &mut report);
        measure_datagrams(&load, &servers, &mut report);
        measure_latency(&load, &servers, &mut report);
    }
    measure_memory(&servers, &mut report);
    report.write()
}

/// Returns the servers that are measured with this workload.
fn servers_for(
    servers: &[MeasuredServer],
    workload: Workload,
) -> impl Iterator<Item = &MeasuredServer> {
    servers
        .iter()
        .filter(move |server| server.workloads.contains(&workload))
}

/// Returns the title of a throughput row with 50 connections. The row with 1 request in flight sets the rate
/// of the open loop.
fn lines_title(in_flight: u32) -> String {
    let requests = if in_flight == 1 {
        "request"
    } else {
        "requests"
    };
    format!("TCP, 50 connections, {in_flight} {requests} in flight each: replies per second")
}

fn measure_streams(load: &Load, servers: &[MeasuredServer], report: &mut Report) {
    for (in_flight, ratio_min) in IN_FLIGHT {
        let title = lines_title(in_flight);
        for server in servers_for(servers, Workload::Lines) {
            let rate = load.lines(server, in_flight);
            report.add(&title, Unit::PerSecond, server.name, rate);
        }
        report.set_goal(&title, Goal::RatioMin(BARE, ratio_min));
    }
    for server in servers_for(servers, Workload::LinesAllCores) {
        let title =
            "TCP, 50 connections, 16 requests in flight each, all cores shared: replies per second";
        report.add(title, Unit::PerSecond, server.name, load.lines(server, 16));
    }
    let short_connections = servers_for(servers, Workload::ShortConnections);
    // Not connections per second: a client spends more time on a connection than most servers.
    let title = "TCP, one request per connection: CPU time of the server per connection, \u{b5}s";
    for server in servers_for(servers, Workload::Lines).chain(short_connections) {
        let seconds = load.short_connections(server);
        report.add(title, Unit::Seconds, server.name, seconds);
    }
    report.set_goal(title, Goal::RatioMax(BARE, CONNECTION_TIME_RATIO_MAX));
    for server in servers_for(servers, Workload::LongLine) {
        let title = "TCP, one line of 256 MiB of digits: bytes per second";
        let rate = load.digits(server);
        report.add(title, Unit::BytesPerSecond, server.name, rate);
    }
}

/// Measures throughput, latency and fairness with hundreds of connections. Servers with a thread per
/// connection are left out.
fn measure_many(load: &Load, servers: &[MeasuredServer], report: &mut Report) {
    for connections in MANY_CONNECTIONS {
        let title = |figure: &str| {
            format!(
                "TCP, {connections} connections, {MANY_IN_FLIGHT} requests in flight each: {figure}"
            )
        };
        let (rate, p99) = (title("replies per second"), title("p99 latency, \u{b5}s"));
        let fairness = title("Jain's fairness index");
        let fewest = title("fewest replies to a connection, % of the most");
        for server in servers_for(servers, Workload::Lines).filter(|server| !server.has_threads()) {
            let name = server.name;
            let measured = load.closed_loop(server, connections, MANY_IN_FLIGHT);
            let measured = measured.as_ref();
            let figure = measured.map(|figures| figures.replies_per_second);
            report.add(&rate, Unit::PerSecond, name, figure);
            let figure = measured.map(|figures| figures.latency_p99);
            report.add(&p99, Unit::Seconds, name, figure);
            let figure = measured.map(|figures| figures.fairness);
            report.add(&fairness, Unit::Index, name, figure);
            let figure = measured.map(|figures| figures.fewest_percent);
            report.add(&fewest, Unit::Percent, name, figure);
        }
        report.set_goal(&rate, Goal::RatioMin(BARE, MANY_RATIO_MIN));
        report.set_goal(&p99, Goal::RatioMax(BARE, P99_RATIO_MAX));
        report.set_goal(&fairness, Goal::Min(FAIRNESS_MIN));
    }
}

fn measure_datagrams(load: &Load, servers: &[MeasuredServer], report: &mut Report) {
    let rate_title = "UDP, 32 requests in flight: replies per second";
    for server in servers_for(servers, Workload::Datagrams) {
        let measured = load.datagrams(server);
        let measured = measured.as_ref();
        let rate = measured.map(|(rate, _)| *rate);
        report.add(rate_title, Unit::PerSecond, server.name, rate);
        let title = "UDP, 32 requests in flight: datagrams lost in 1 s";
        let lost = measured.map(|(_, lost)| *lost);
        report.add(title, Unit::Count, server.name, lost);
    }
    report.set_goal(rate_title, Goal::RatioMin(BARE, DATAGRAMS_RATIO_MIN));
}

/// Measures the latency in an open loop, at half of the throughput of the slower of chime and redis.
fn measure_latency(load: &Load, servers: &[MeasuredServer], report: &mut Report) {
    let measured: Vec<&MeasuredServer> = servers_for(servers, Workload::Lines)
        .filter(|server| ["chime", "redis"].contains(&server.name))
        .collect();
    let rates = measured
        .iter()
        .filter_map(|server| report.last(&lines_title(1), server.name));
    let Some(rate) = rates.reduce(f64::min) else {
        return;
    };
    let title = |figure: &str| {
        format!(
            "TCP, 50 connections, open loop at half of the maximum rate: {figure} latency, \u{b5}s"
        )
    };
    let (p90, p99) = (title("p90"), title("p99"));
    for server in measured.repeat(OPEN_LOOP_TURNS) {
        let measured = load.latencies(server, (rate / 2.0) as u64);
        let measured = measured.as_ref();
        let seconds = measured.map(|latencies| latencies[0]);
        report.add(&p90, Unit::Seconds, server.name, seconds);
        let seconds = measured.map(|latencies| latencies[1]);
        report.add(&p99, Unit::Seconds, server.name, seconds);
    }
    for title in [p90, p99] {
        report.set_goal(&title, Goal::RatioMax("redis", OPEN_LOOP_RATIO_MAX));
    }
}

fn measure_memory(servers: &[MeasuredServer], report: &mut Report) {
    let title = "TCP, idle connection: private memory, bytes";
    for server in servers_for(servers, Workload::Lines) {
        let count = match server.has_threads() {
            true => IDLE_THREADS,
            false => IDLE_CONNECTIONS,
        };
        report.add(title, Unit::Bytes, server.name, idle_bytes(server, count));
    }
    report.set_goal(title, Goal::RatioMax("memcached", MEMORY_RATIO_MAX));
}
