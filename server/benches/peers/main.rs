//! chime beside its peers: how fast each answers on this machine, measured in turns.
//!
//! `cargo bench -p chime-server` starts chime, bare loops around the system calls, and every peer that is
//! installed: `apt-get install redis-server memcached chrony xinetd python3`. The servers run on the
//! first core, the load on the second. In each round every server is measured once; what is printed are medians, and
//! the medians of the ratios of each round, with the least and the greatest. They are
//! written to `server/benches/peers.txt` and drawn in `server/benches/peers.svg`.
//!
//! `cargo bench -p chime-server -- 15` measures so many rounds in place of 5.

mod bare;
mod load;
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
    let offering = |offer| {
        servers
            .iter()
            .filter(move |server| server.offers.contains(&offer))
    };
    let mut report = Report::new(rounds);
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for in_flight in [1, 16, 100] {
            let title = format!("TCP, 50 connections, {in_flight} in flight each");
            for server in offering(Offer::Lines) {
                let rate = load.lines(server, in_flight);
                report.add(&title, Unit::PerSecond, server.name, rate);
            }
        }
        for server in offering(Offer::Lines).chain(offering(Offer::Visits)) {
            let rate = load.visits(server);
            report.add(
                "TCP, a connection for each request",
                Unit::PerSecond,
                server.name,
                rate,
            );
        }
        for server in offering(Offer::Datagrams) {
            let rate = load.datagrams(server);
            report.add("UDP", Unit::PerSecond, server.name, rate);
        }
        for server in offering(Offer::Sink) {
            let rate = load.digits(server);
            report.add(
                "TCP, a line of 256 MiB of digits",
                Unit::BytesPerSecond,
                server.name,
                rate,
            );
        }
        measure_latency(&load, &servers, &mut report);
    }
    for server in offering(Offer::Lines) {
        let count = match server.has_threads() {
            true => IDLE_THREADS,
            false => IDLE_CONNECTIONS,
        };
        let bytes = idle_bytes(server, count);
        report.add(
            "memory of an idle connection",
            Unit::Bytes,
            server.name,
            bytes,
        );
    }
    report.write()
}

/// Measures the latency at a rate that the slower of chime and redis can serve twice over.
fn measure_latency(load: &Load, servers: &[Server], report: &mut Report) {
    let measured = servers.iter().filter(|server| {
        server.offers.contains(&Offer::Lines) && ["chime", "redis"].contains(&server.name)
    });
    let measured: Vec<&Server> = measured.collect();
    let title = "TCP, 50 connections, 1 in flight each";
    let slowest = measured
        .iter()
        .filter_map(|server| report.last(title, server.name));
    let Some(rate) = slowest.reduce(f64::min) else {
        return;
    };
    for server in measured {
        let seconds = load.latency(server, (rate / 2.0) as u64);
        report.add(
            "p99 at half of the maximum rate, open loop",
            Unit::Seconds,
            server.name,
            seconds,
        );
    }
}
