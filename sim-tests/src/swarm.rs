//! Drawing scenarios.
//!
//! Each kind of fault is on with probability one half, so that some scenarios are calm but for one fault:
//! where everything fails at once, one fault hides the other.

use chime_protocol::model::strategies;
use chime_protocol::{Command, Framing, Service};
use chrono::{NaiveDate, NaiveDateTime};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::scenario::{
    Act, Behaviour, Client, Ending, Fault, FaultKind, Network, Reading, Scenario, Server, Source,
    Text,
};

impl Scenario {
    /// Generates a scenario: the same for the same seed, until a dependency generates other values.
    pub fn from_seed(seed: u64) -> Scenario {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        draw(TestRunner::new_with_rng(ProptestConfig::default(), rng))
    }
}

fn draw(mut runner: TestRunner) -> Scenario {
    let mut dice = Dice(&mut runner);
    let server = dice.roll(server());
    let heal_ms = dice.roll(100..1_500_u32);
    let host_count = dice.roll(1..=3_usize);
    let clients = dice.roll(vec(client(server.framing, host_count, heal_ms), 1..8));
    Scenario {
        seed: dice.roll(any::<u64>()),
        network: dice.roll(network()),
        faults: dice.roll(faults(&clients, host_count, heal_ms)),
        clients,
        server,
        heal_ms,
    }
}

struct Dice<'a>(&'a mut TestRunner);

impl Dice<'_> {
    fn roll<S: Strategy>(&mut self, strategy: S) -> S::Value {
        let tree = strategy.new_tree(self.0);
        tree.expect("no strategy here rejects what it draws")
            .current()
    }
}

/// On for one half of the scenarios, and then as often as `percent` says.
fn sometimes(percent: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = u8> {
    option::of(percent).prop_map(Option::unwrap_or_default)
}

fn server() -> impl Strategy<Value = Server> {
    (
        prop_oneof![2 => Just(Service::Both), 1 => strategies::service()],
        prop_oneof![4 => Just(Framing::Line), 1 => Just(Framing::Read)],
        clock(),
        prop_oneof![3 => Just(1_000), 1 => 1..4_usize],
        200..2_000_u32,
        timeout_or_never(),
        timeout_or_never(),
        prop_oneof![1 => 20..200_u32, 1 => 500..3_000_u32],
    )
        .prop_map(
            |(service, framing, clock, connections_max, idle, line, write, drain)| Server {
                service,
                framing,
                clock,
                connections_max,
                idle_timeout_ms: idle,
                line_timeout_ms: line,
                write_timeout_ms: write,
                drain_timeout_ms: drain,
            },
        )
}

fn timeout_or_never() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(Server::default().line_timeout_ms), 1 => 100..1_000_u32]
}

/// Some instant of our time: many are soon followed by another day, month or year.
fn clock() -> impl Strategy<Value = NaiveDateTime> {
    let last_days = [
        (2026, 12, 31),
        (2028, 2, 28),
        (2028, 2, 29),
        (2026, 2, 28),
        (1999, 12, 31),
    ];
    let last_second = (select(last_days.to_vec()), 0..1_000_u32).prop_map(|((y, m, d), milli)| {
        let date = NaiveDate::from_ymd_opt(y, m, d).expect("a date");
        date.and_hms_milli_opt(23, 59, 59, milli).expect("a time")
    });
    prop_oneof![1 => last_second, 1 => strategies::instant_of(1970..2070)]
}

fn network() -> impl Strategy<Value = Network> {
    let streams = (
        sometimes(5..=60),
        sometimes(5..=60),
        sometimes(5..=40),
        prop_oneof![5 => Just(0), 1 => 1..=3_u8],
        sometimes(5..=50),
        prop_oneof![1 => Just(65_536), 1 => 1..500_usize],
    );
    let datagrams = (
        sometimes(5..=60),
        sometimes(5..=60),
        sometimes(5..=60),
        sometimes(5..=50),
        prop_oneof![3 => Just(1_000), 1 => 1..4_usize],
    );
    let latency = prop_oneof![2 => (0..5_u32, 0..5_u32), 1 => (0..50_u32, 0..200_u32)];
    (latency, streams, datagrams).prop_map(|(latency, streams, datagrams)| Network {
        latency_min_ms: latency.0,
        latency_max_ms: latency.0 + latency.1,
        cut_percent: streams.0,
        glue_percent: streams.1,
        pending_percent: streams.2,
        stream_error_percent: streams.3,
        accept_error_percent: streams.4,
        // A narrow and long link would try the patience of the clients.
        window_bytes: streams.5.max(4 * (latency.0 + latency.1) as usize),
        loss_percent: datagrams.0,
        duplication_percent: datagrams.1,
        corruption_percent: datagrams.2,
        datagram_error_percent: datagrams.3,
        datagrams_max: datagrams.4,
    })
}

fn client(framing: Framing, host_count: usize, heal_ms: u32) -> BoxedStrategy<Client> {
    let behaviour = match framing {
        Framing::Line => prop_oneof![
            3 => ask(), 3 => pipe(), 8 => write(line_chunks()), 2 => ask_datagrams(), 2 => write_datagrams(),
        ]
        .boxed(),
        // The library speaks in lines.
        Framing::Read => prop_oneof![
            8 => write(read_chunks()), 1 => ask_datagrams(), 1 => write_datagrams(),
        ]
        .boxed(),
    };
    (0..host_count, 0..heal_ms, behaviour)
        .prop_map(|(host, start_ms, behaviour)| Client {
            host,
            start_ms,
            behaviour,
        })
        .boxed()
}

fn pause() -> impl Strategy<Value = u32> {
    prop_oneof![2 => 0..3_u32, 2 => 0..60_u32, 1 => 0..400_u32]
}

fn ask() -> impl Strategy<Value = Behaviour> {
    let line = strategies::command().prop_map(|command| {
        let line = String::from_utf8_lossy(&command).into_owned();
        line.replace('\n', " ")
    });
    (vec(line, 1..8), pause()).prop_map(|(lines, pause_ms)| Behaviour::Ask { lines, pause_ms })
}

fn pipe() -> impl Strategy<Value = Behaviour> {
    (line_chunks(), pause()).prop_map(|(chunks, pause_ms)| Behaviour::Pipe { chunks, pause_ms })
}

/// A conversation of lines, cut with no regard to where the lines end; now and then a long one.
fn line_chunks() -> BoxedStrategy<Vec<Text>> {
    let conversation = prop_oneof![
        6 => strategies::conversation(),
        3 => (strategies::line(), 2..200_usize)
            .prop_map(|(line, count)| line.repeat(count.min(8_000 / line.len().max(1)))),
    ];
    (conversation, strategies::cuts())
        .prop_map(|(bytes, cuts)| {
            let mut chunks = Vec::new();
            let mut rest = &*bytes;
            for length in cuts.into_iter().chain([usize::MAX]) {
                let (chunk, after) = rest.split_at(length.min(rest.len()));
                chunks.push(Text::from(chunk));
                rest = after;
            }
            chunks.retain(|chunk| !chunk.is_empty());
            chunks
        })
        .boxed()
}

/// Chunks that mostly are a command each.
fn read_chunks() -> BoxedStrategy<Vec<Text>> {
    let chunk = prop_oneof![4 => strategies::command(), 1 => strategies::line()];
    vec(chunk.prop_map(Text), 0..8)
        .prop_map(|mut chunks| {
            chunks.retain(|chunk| !chunk.is_empty());
            chunks
        })
        .boxed()
}

fn write(chunks: BoxedStrategy<Vec<Text>>) -> impl Strategy<Value = Behaviour> {
    let reading = prop_oneof![
        4 => Just(Reading::Eager),
        3 => (16..200_usize, 1..15_u32).prop_map(|(bytes, pause_ms)| Reading::Slow { bytes, pause_ms }),
        1 => Just(Reading::Never),
    ];
    let ending = prop_oneof![
        6 => Just(Ending::Await),
        1 => Just(Ending::Leave),
        1 => Just(Ending::Forget),
    ];
    let pauses = vec(option::of(pause()), 30);
    (chunks, pauses, any::<bool>(), reading, ending).prop_map(
        |(chunks, pauses, is_shut, reading, ending)| {
            let mut acts = Vec::new();
            for (chunk, pause) in chunks.into_iter().zip(pauses) {
                acts.extend(pause.map(Act::Pause));
                acts.push(Act::Write(chunk));
            }
            acts.extend(is_shut.then_some(Act::Shut));
            Behaviour::Write {
                acts,
                reading,
                ending,
            }
        },
    )
}

fn ask_datagrams() -> impl Strategy<Value = Behaviour> {
    let commands: Vec<_> = Command::time_commands()
        .map(|command| command.name().to_string())
        .collect();
    (vec(select(commands), 1..5), pause())
        .prop_map(|(commands, pause_ms)| Behaviour::AskDatagrams { commands, pause_ms })
}

fn write_datagrams() -> impl Strategy<Value = Behaviour> {
    let huge = (1_000..65_000_usize).prop_map(|length| vec![b'd'; length]);
    let datagram = prop_oneof![8 => strategies::datagram(), 1 => Just(Vec::new()), 1 => huge];
    let source = select(vec![
        Source::Sender,
        Source::Sender,
        Source::Server,
        Source::Nobody,
        Source::Service,
    ]);
    (vec(datagram.prop_map(Text), 1..12), source, pause()).prop_map(
        |(datagrams, source, pause_ms)| Behaviour::WriteDatagrams {
            datagrams,
            source,
            pause_ms,
        },
    )
}

fn faults(
    clients: &[Client],
    host_count: usize,
    heal_ms: u32,
) -> impl Strategy<Value = Vec<Fault>> {
    // Most conversations are short, and many faults should strike one.
    let starts: Vec<u32> = clients.iter().map(|client| client.start_ms).collect();
    let after_a_start = (select(starts), 0..60_u32).prop_map(|(start, after)| start + after);
    let time = prop_oneof![3 => after_a_start, 1 => 0..heal_ms].boxed();
    let hosts = move || 0..host_count;
    let kinds = [
        hosts().prop_map(|host| FaultKind::Hold { host }).boxed(),
        hosts()
            .prop_map(|host| FaultKind::Partition { host })
            .boxed(),
        hosts()
            .prop_map(|host| FaultKind::PartitionToServer { host })
            .boxed(),
        hosts()
            .prop_map(|host| FaultKind::PartitionFromServer { host })
            .boxed(),
        (hosts(), 0..500_u32)
            .prop_map(|(host, latency_ms)| FaultKind::Slow { host, latency_ms })
            .boxed(),
        Just(FaultKind::Crash).boxed(),
        Just(FaultKind::Stop).boxed(),
        prop_oneof![-4_000..4_000_i64, Just(-3_600), Just(3_600), Just(86_400)]
            .prop_map(|seconds| FaultKind::ClockStep { seconds })
            .boxed(),
    ];
    let of_kind = kinds.map(|kind| {
        let fault = (time.clone(), 1..400_u32, kind);
        let fault = fault.prop_map(|(at_ms, for_ms, kind)| Fault {
            at_ms,
            for_ms,
            kind,
        });
        option::of(vec(fault, 1..=2))
            .prop_map(Option::unwrap_or_default)
            .boxed()
    });
    Vec::from(of_kind).prop_map(|faults| faults.concat())
}
