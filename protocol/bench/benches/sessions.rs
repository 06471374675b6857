//! The number of commands, conversations and datagrams that one core serves per second.
//!
//! `cargo bench -p chime-bench --bench sessions`

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

use chime_bench::{DATAGRAMS, Server};
use chime_protocol::{Command, Request};

/// The number of pipelined requests.
const PIPELINED: usize = 1_000;

/// One request of each kind.
const MIXED: &str = "day\ndate\ntime\nsend time\n12345\nhelp\nwhat?\n Day \r\n";

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    let commands = Command::ALL
        .iter()
        .filter(|command| !Request::Command(**command).is_quit());
    for command in commands
        .map(|command| command.name())
        .chain(["12345", "what?"])
    {
        let input = format!("{command}\n").repeat(PIPELINED);
        pipelined(&mut group, command, input.as_bytes(), input.len());
    }
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commands in reads of");
    let input = MIXED.repeat(PIPELINED / MIXED.lines().count());
    for size in [1, 7, 64, 1460, 16384] {
        pipelined(&mut group, &format!("{size} B"), input.as_bytes(), size);
    }
}

/// Measures a session that reads `input` in chunks of `size` bytes.
fn pipelined(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, input: &[u8], size: usize) {
    let mut server = Server::default();
    let mut session = server.welcomed();
    group.throughput(Throughput::ElementsAndBytes {
        elements: input.iter().filter(|byte| **byte == b'\n').count() as u64,
        bytes: input.len() as u64,
    });
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for read in input.chunks(size) {
                server.converse(&mut session, read);
            }
        });
    });
}

fn conversations(criterion: &mut Criterion) {
    let mut server = Server::default();
    let mut group = criterion.benchmark_group("conversation");
    group.throughput(Throughput::Elements(1));
    group.bench_function("day, 12345, quit", |bencher| {
        bencher.iter(|| server.serve())
    });
}

fn datagrams(criterion: &mut Criterion) {
    let mut server = Server::default();
    let mut group = criterion.benchmark_group("datagram");
    group.throughput(Throughput::Elements(1));
    for request in DATAGRAMS {
        group.bench_function(request.trim_end(), |bencher| {
            bencher.iter(|| server.serve_datagram(request));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = commands, chunks, conversations, datagrams
}
criterion_main!(benches);
