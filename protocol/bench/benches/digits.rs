//! Throughput of the digit sum, compared with one core reading the same memory.
//!
//! `cargo bench -p chime-bench --bench digits` prints the ratio of the two at the end. The goal is 0.9 if
//! the digits do not fit in a cache, and 15 GB/s if they do.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use chime_bench::Server;

/// The lengths of the lines of digits in bytes, with their names.
const LENGTHS: [(usize, &str); 5] = [
    (16, "16 B"),
    (1 << 10, "1 KiB"),
    (32 << 10, "32 KiB"),
    (1 << 20, "1 MiB"),
    (256 << 20, "256 MiB"),
];

fn main() {
    let memory = vec![b'7'; 256 << 20];
    let lines = LENGTHS.map(|(length, name)| (&memory[..length], name));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    for (line, name) in lines {
        compare(&mut criterion, line, name);
    }
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        for (line, name) in lines {
            print_ratio(line, name);
        }
    }
}

/// Measures summing and reading `line`, one after the other.
fn compare(criterion: &mut Criterion, line: &[u8], name: &str) {
    let mut server = Server::default();
    let mut session = server.welcomed();
    let mut group = criterion.benchmark_group(format!("digits, {name}"));
    group.throughput(Throughput::Bytes(line.len() as u64));
    group.bench_function("sum", |bencher| {
        bencher.iter(|| server.converse(&mut session, line))
    });
    group.bench_function("read", |bencher| bencher.iter(|| read(line)));
}

/// Measures summing and reading in alternation, so that other load slows both, and prints medians.
fn print_ratio(line: &[u8], name: &str) {
    let mut server = Server::default();
    let mut session = server.welcomed();
    let repeats = ((16 << 20) / line.len()).max(1);
    let mut rounds = [(); 25].map(|()| {
        let sum = rate(line, repeats, || server.converse(&mut session, line));
        let read = rate(line, repeats, || {
            black_box(read(line));
        });
        (sum / read, sum)
    });
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, sum) = rounds[rounds.len() / 2];
    println!("digits, {name:>7}: {sum:5.1} GB/s, {ratio:.2} of the memory read throughput");
}

/// Returns the throughput at which `work` reads `line`, in GB/s.
fn rate(line: &[u8], repeats: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..repeats {
        work();
    }
    (line.len() * repeats) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Reads memory with the cheapest operation that uses every byte.
fn read(memory: &[u8]) -> u64 {
    let (words, _) = black_box(memory).as_chunks();
    words
        .iter()
        .fold(0, |all, word| all ^ u64::from_ne_bytes(*word))
}
