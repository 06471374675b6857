//! chime beside its peers: how fast each answers on this machine, measured in turns.
//!
//! `cargo bench -p chime-server --bench peers` starts chime, bare loops around the system calls, and every peer that is
//! installed: `apt-get install redis-server memcached chrony xinetd python3`. The servers run on the
//! first core, the load on the second, unless the title says that they share all cores. In each round
//! every server is measured once; what is printed are medians, and the medians of the ratios of each
//! round, with the least and the greatest. They are written to `server/benches/peers.txt` and drawn in
//! `server/benches/peers.svg`.
//!
//! `cargo bench -p chime-server --bench peers -- 15` measures so many rounds in place of 5.

mod bare;
mod load;
mod memory;
mod report;
mod server;

use std::env;
use std::io;
use std::process::ExitCode;

use load::{Load, idle_bytes};
use report::{Report, Unit};
use server::{Offer, Server};

/// How often everything is measured, if not told otherwise.
const ROUNDS: usize = 5;

/// Idle connections held while memory is measured; of servers with a thread for each, fewer.
const IDLE_CONNECTIONS: usize = 10_000;
const IDLE_THREADS: usize = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["serve-lines", address] => bare::serve_lines(address),
        ["serve-sessions", address] => bare::serve_sessions(address),
        ["serve-sink", address] => bare::serve_sink(address),
        ["serve-datagrams", address] => bare::serve_datagrams(address),
        [] => measure(ROUNDS),
        [rounds] => match rounds.parse() {
            Ok(rounds) => measure(rounds),
            Err(_) => Err(io::Error::other(format!(
                "'{rounds}' is no number of rounds"
            ))),
        },
        _ => Err(io::Error::other(
            "at most one argument: the number of rounds",
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
    let servers = server::start_all()?;
    let load = Load::build()?;
    let mut report = Report::new(rounds);
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        measure_streams(&load, &servers, &mut report);
        measure_datagrams(&load, &servers, &mut report);
        measure_latency(&load, &servers, &mut report);
    }
    measure_memory(&servers, &mut report);
    report.write()
}

/// The servers that offer this.
fn offering(servers: &[Server], offer: Offer) -> impl Iterator<Item = &Server> {
    servers
        .iter()
        .filter(move |server| server.offers.contains(&offer))
}

/// What is said of a load on all connections: the one without pipelining sets the rate of others.
fn lines_title(in_flight: u32) -> String {
    format!("TCP, 50 connections, {in_flight} in flight each")
}

fn measure_streams(load: &Load, servers: &[Server], report: &mut Report) {
    for in_flight in [1, 16, 100] {
        for server in offering(servers, Offer::Lines) {
            let rate = load.lines(server, in_flight);
            report.add(&lines_title(in_flight), Unit::PerSecond, server.name, rate);
        }
    }
    for server in offering(servers, Offer::AllCores) {
        let title = "TCP, 50 connections, 16 in flight each, server and load share all cores";
        report.add(title, Unit::PerSecond, server.name, load.lines(server, 16));
    }
    for server in offering(servers, Offer::Lines).chain(offering(servers, Offer::Visits)) {
        let title = "TCP, a connection for each request";
        report.add(title, Unit::PerSecond, server.name, load.visits(server));
    }
    for server in offering(servers, Offer::Sink) {
        let title = "TCP, a line of 256 MiB of digits";
        report.add(
            title,
            Unit::BytesPerSecond,
            server.name,
            load.digits(server),
        );
    }
}

fn measure_datagrams(load: &Load, servers: &[Server], report: &mut Report) {
    for server in offering(servers, Offer::Datagrams) {
        let (rate, lost) = match load.datagrams(server) {
            Ok((rate, lost)) => (Ok(rate), Ok(lost)),
            Err(error) => {
                eprintln!("UDP: {}: {error}", server.name);
                continue;
            }
        };
        report.add("UDP", Unit::PerSecond, server.name, rate);
        report.add(
            "UDP, datagrams lost in a second",
            Unit::Count,
            server.name,
            lost,
        );
    }
}

/// Measures the latency at a rate that the slower of chime and redis can serve twice over.
fn measure_latency(load: &Load, servers: &[Server], report: &mut Report) {
    let measured: Vec<&Server> = offering(servers, Offer::Lines)
        .filter(|server| ["chime", "redis"].contains(&server.name))
        .collect();
    let rates = measured
        .iter()
        .filter_map(|server| report.last(&lines_title(1), server.name));
    let Some(rate) = rates.reduce(f64::min) else {
        return;
    };
    for server in measured {
        let title = "p99 at half of the maximum rate, open loop";
        let seconds = load.latency(server, (rate / 2.0) as u64);
        report.add(title, Unit::Seconds, server.name, seconds);
    }
}

fn measure_memory(servers: &[Server], report: &mut Report) {
    for server in offering(servers, Offer::Lines) {
        let count = match server.has_threads() {
            true => IDLE_THREADS,
            false => IDLE_CONNECTIONS,
        };
        let title = "memory of an idle connection";
        report.add(title, Unit::Bytes, server.name, idle_bytes(server, count));
    }
}
