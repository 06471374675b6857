//! Soak test: many kinds of clients, hostile ones included, concurrently on one server over loopback.
//!
//! `cargo bench -p chime-server --bench soak` runs for two minutes, `-- 10m` for ten, and prints a table. It
//! fails if a reply was wrong or missing, or if the server leaks memory or file descriptors.

mod counters;
mod hostile;
#[path = "../peers/memory.rs"]
mod memory;
mod polite;
mod server;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use counters::Counters;
use server::{ServerProcess, Usage};

/// Default duration.
const DURATION: Duration = Duration::from_secs(120);

/// Interval of the progress messages.
const TICK: Duration = Duration::from_secs(10);

/// Time limit for the server to close the connections that remain at the end.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Limit of the growth of the server's memory.
const GROWTH_MAX_KB: u64 = 16 << 10;

/// The addresses of the server, and the end of the load.
#[derive(Clone, Copy)]
struct Target {
    tcp: SocketAddr,
    udp: SocketAddr,
    end: Instant,
}

impl Target {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// A kind of client: its name, the number of clients, and the function that each calls in a loop.
type Kind = (&'static str, usize, fn(Target, &Counters));

const KINDS: [Kind; 12] = [
    ("one request at a time", 20, polite::request_one_at_a_time),
    ("pipelined requests", 4, polite::pipeline),
    ("small segments", 4, polite::write_small_segments),
    ("long line of digits", 2, polite::sum_a_long_line),
    ("half-close", 4, polite::half_close),
    ("datagrams", 8, polite::request_by_datagram),
    ("invalid lines", 4, polite::send_invalid_lines),
    ("slow writer", 20, hostile::write_slowly),
    ("never reads", 10, hostile::never_read),
    ("reset", 10, hostile::reset),
    ("idle", 20, hostile::stay_idle),
    ("invalid datagrams", 2, hostile::send_invalid_datagrams),
];

fn main() -> ExitCode {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let duration = match &words[..] {
        [] => Ok(DURATION),
        [word] => humantime::parse_duration(word).map_err(|error| error.to_string()),
        _ => Err("expected at most one argument, the duration".to_string()),
    };
    match duration {
        Ok(duration) => soak(duration),
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(duration: Duration) -> ExitCode {
    let server = ServerProcess::start();
    let target = Target {
        tcp: server.tcp,
        udp: server.udp,
        end: Instant::now() + duration,
    };
    // Warm-up: makes the one-time allocations.
    polite::pipeline(target, &Counters::default());
    polite::request_by_datagram(target, &Counters::default());
    let before = server.settled(usize::MAX, SETTLE_MAX);
    let counters: Vec<Counters> = KINDS.iter().map(|_| Counters::default()).collect();
    thread::scope(|scope| {
        for ((_, count, run), counters) in KINDS.into_iter().zip(&counters) {
            for _ in 0..count {
                scope.spawn(move || {
                    while !target.is_over() {
                        run(target, counters);
                    }
                });
            }
        }
        while !target.is_over() {
            sleep(TICK.min(target.remaining()));
            let requests: u64 = counters
                .iter()
                .map(|counters| counters.requests.get())
                .sum();
            let seconds = target.remaining().as_secs();
            eprintln!("{requests} requests, {seconds} s remaining");
        }
    });
    let after = server.settled(before.descriptors, SETTLE_MAX);
    report(&counters, before, after)
}

/// Prints the table. Returns whether the soak has passed.
fn report(counters: &[Counters], before: Usage, after: Usage) -> ExitCode {
    println!(
        "{:<22}{:>8}{}",
        "kind of client",
        "clients",
        Counters::HEADINGS
    );
    for ((name, count, _), counters) in KINDS.iter().zip(counters) {
        println!("{name:<22}{count:>8}{counters}");
    }
    let total = counters.iter().fold(Counters::default(), Counters::plus);
    let clients: usize = KINDS.iter().map(|(_, count, _)| count).sum();
    println!("{:<22}{clients:>8}{total}\n", "total");
    println!("server              at the start    at the end");
    println!(
        "private memory, kB{:>14}{:>14}",
        before.memory_kb, after.memory_kb
    );
    println!(
        "file descriptors  {:>14}{:>14}",
        before.descriptors, after.descriptors
    );
    let has_passed = total.wrong.get() == 0
        && total.lost.get() == 0
        && after.descriptors <= before.descriptors
        && after.memory_kb <= before.memory_kb + GROWTH_MAX_KB;
    match has_passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
