//! Datagrams that are lost, duplicated, reordered, corrupted, spoofed or invalid.

use chime_sim_tests::chime::{Behaviour, CoverageGoal, Destination, Scenario, Source, Timeout};
use chime_sim_tests::scenario::{FaultKind, Network, Text};

use crate::{all_pass, fault, passes, replies, with};

fn ask_datagrams() -> Behaviour {
    let commands = ["day", "date", "time", "send time"];
    Behaviour::AskDatagrams {
        to: Destination::default(),
        commands: commands.map(String::from).into(),
        pause_ms: 10,
        timeout_ms: Timeout::default(),
    }
}

fn write_datagrams(source: Source, datagrams: &[&[u8]]) -> Behaviour {
    Behaviour::WriteDatagrams {
        to: Destination::default(),
        datagrams: datagrams.iter().map(|bytes| Text::from(*bytes)).collect(),
        source,
        pause_ms: 1,
    }
}

/// Asserts that requests over this network pass with 30 seeds, and that each goal is reached with one of them.
fn requests_pass(network: Network, goals: &[CoverageGoal]) {
    let writer = write_datagrams(Source::Sender, &[b"day\n", b"time"]);
    let scenario = Scenario {
        network,
        ..with([ask_datagrams(), writer])
    };
    let scenarios = (0..30).map(|rng_seed| Scenario {
        rng_seed,
        ..scenario.clone()
    });
    all_pass(scenarios, goals);
}

/// Runs a scenario that must pass; returns the number of datagrams that the server sent.
fn sent_count(scenario: &Scenario, goal: CoverageGoal) -> usize {
    let trace = passes(scenario, &[goal]);
    trace.to_string().matches("server sends").count()
}

#[test]
fn requests_are_answered() {
    let trace = passes(&with([ask_datagrams()]), &[]);
    assert_eq!(replies(&trace, 0)[..2], ["Saturday", "26-11-21"]);
}

#[test]
fn lost_datagrams_are_retried() {
    requests_pass(
        Network {
            loss_percent: 40,
            ..Network::default()
        },
        &[CoverageGoal::DatagramLost, CoverageGoal::DatagramRetried],
    );
}

#[test]
fn duplicated_datagrams_are_tolerated() {
    requests_pass(
        Network {
            duplication_percent: 50,
            ..Network::default()
        },
        &[
            CoverageGoal::RequestDuplicated,
            CoverageGoal::ReplyDuplicated,
        ],
    );
}

#[test]
fn reordered_datagrams_are_tolerated() {
    requests_pass(
        Network {
            latency_min_ms: 0,
            latency_max_ms: 100,
            ..Network::default()
        },
        &[CoverageGoal::DatagramOvertook],
    );
}

#[test]
fn corrupted_datagrams_are_ignored() {
    requests_pass(
        Network {
            corruption_percent: 50,
            ..Network::default()
        },
        &[CoverageGoal::CorruptedIgnored],
    );
}

#[test]
fn failed_receives_are_retried() {
    requests_pass(
        Network {
            datagram_error_percent: 50,
            ..Network::default()
        },
        &[CoverageGoal::ReceiveFailed],
    );
}

#[test]
fn invalid_requests_are_ignored() {
    let huge = vec![b'd'; 65_000];
    let invalid: [&[u8]; 7] = [b"", b"\0", b"12345", b"quit", b"day day", b"day\r", &huge];
    let writer = write_datagrams(Source::Sender, &invalid);
    passes(
        &with([writer, ask_datagrams()]),
        &[CoverageGoal::EmptyDatagram, CoverageGoal::HugeDatagram],
    );
}

#[test]
fn requests_spoofed_from_the_server_start_no_reply_loop() {
    let scenario = with([write_datagrams(Source::Server, &[b"day", b"send time"])]);
    // Two replies to itself, and one to the client that verifies the recovery.
    assert_eq!(sent_count(&scenario, CoverageGoal::SpoofedServer), 3);
}

#[test]
fn replies_to_a_port_without_a_socket_are_lost() {
    let writer = write_datagrams(Source::Nobody, &[&b"day"[..]; 5]);
    passes(&with([writer, ask_datagrams()]), &[]);
}

#[test]
fn t04_a_request_from_a_port_below_1024_is_ignored() {
    let scenario = with([write_datagrams(Source::Service, &[b"day", b"send time"])]);
    // One reply to the client that verifies the recovery.
    assert_eq!(sent_count(&scenario, CoverageGoal::ServiceIgnored), 1);
}

#[test]
fn requests_after_a_flood_that_overflows_the_queue_are_answered() {
    let mut scenario = with([Behaviour::WriteDatagrams {
        to: Destination::default(),
        datagrams: vec![Text::from("day"); 200],
        source: Source::Sender,
        pause_ms: 0,
    }]);
    scenario.network.datagrams_max = 10;
    let slow = FaultKind::Slow {
        host: 0,
        latency_ms: 20,
    };
    scenario.faults = vec![fault(1, 100, slow)];
    let trace = passes(&scenario, &[]);
    // The client that verifies the recovery is number 1.
    let last = replies(&trace, 1).pop();
    assert_eq!(last.map(str::len), Some(26), "{last:?}");
}

#[test]
fn requests_lost_in_a_partition_are_retried() {
    let scenario = Scenario {
        faults: vec![fault(1, 900, FaultKind::Partition { host: 0 })],
        ..with([ask_datagrams()])
    };
    passes(&scenario, &[CoverageGoal::DatagramRetried]);
}
