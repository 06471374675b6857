//! Datagrams that get lost, come twice, late, changed, or from someone else.

use crate::{fault, passes, told, with};
use chime_sim_tests::chime::{Behaviour, CoverageGoal, Scenario, Source};
use chime_sim_tests::scenario::{FaultKind, Network, Text};

fn ask_datagrams() -> Behaviour {
    Behaviour::AskDatagrams {
        commands: vec![
            "day".into(),
            "date".into(),
            "time".into(),
            "send time".into(),
        ],
        pause_ms: 10,
    }
}

fn write_datagrams(source: Source, datagrams: &[&[u8]]) -> Behaviour {
    Behaviour::WriteDatagrams {
        datagrams: datagrams.iter().map(|bytes| Text::from(*bytes)).collect(),
        source,
        pause_ms: 1,
    }
}

/// Runs questions over such networks, of which some have to reach these situations.
fn over(network: Network, situations: &[CoverageGoal]) {
    let mut missed = situations.to_vec();
    for seed in 0..30 {
        let scenario = Scenario {
            rng_seed: seed,
            network,
            ..with([
                ask_datagrams(),
                write_datagrams(Source::Sender, &[b"day\n", b"time"]),
            ])
        };
        let trace = chime_sim_tests::run(&scenario);
        let coverage = chime_sim_tests::check(&scenario, &trace)
            .unwrap_or_else(|failure| panic!("{failure}\n\n{scenario}\n\n{trace}"));
        missed.retain(|goal| !coverage.contains(goal));
    }
    assert_eq!(missed, []);
}

#[test]
fn a_calm_day() {
    let trace = passes(&with([ask_datagrams()]), &[]);
    assert_eq!(told(&trace, 0)[..2], ["Saturday", "26-11-21"]);
}

#[test]
fn they_may_get_lost() {
    over(
        Network {
            loss_percent: 40,
            ..Network::default()
        },
        &[CoverageGoal::DatagramLost, CoverageGoal::DatagramRetried],
    );
}

#[test]
fn they_may_come_twice() {
    over(
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
fn they_may_overtake_each_other() {
    over(
        Network {
            latency_min_ms: 0,
            latency_max_ms: 100,
            ..Network::default()
        },
        &[CoverageGoal::DatagramOvertook],
    );
}

#[test]
fn they_may_be_changed() {
    over(
        Network {
            corruption_percent: 50,
            ..Network::default()
        },
        &[CoverageGoal::CorruptedIgnored],
    );
}

#[test]
fn a_socket_may_fail_for_a_while() {
    over(
        Network {
            datagram_error_percent: 50,
            ..Network::default()
        },
        &[CoverageGoal::ReceiveFailed],
    );
}

#[test]
fn what_is_no_request_is_ignored() {
    let huge = vec![b'd'; 65_000];
    let odd: [&[u8]; 7] = [b"", b"\0", b"12345", b"quit", b"day day", b"day\r", &huge];
    let scenario = with([write_datagrams(Source::Sender, &odd), ask_datagrams()]);
    passes(
        &scenario,
        &[CoverageGoal::EmptyDatagram, CoverageGoal::HugeDatagram],
    );
}

#[test]
fn a_server_that_is_made_to_talk_to_itself_stops_at_once() {
    let scenario = with([write_datagrams(Source::Server, &[b"day", b"send time"])]);
    let trace = passes(&scenario, &[CoverageGoal::SpoofedServer]);
    let sent = trace.to_string().matches("server sends").count();
    // To itself, and to the one that tries the server when all has healed.
    assert_eq!(sent, 3);
}

#[test]
fn replies_to_nobody_get_lost() {
    passes(
        &with([
            write_datagrams(Source::Nobody, &[&b"day"[..]; 5]),
            ask_datagrams(),
        ]),
        &[],
    );
}

#[test]
fn t04_a_request_from_a_port_below_1024_is_ignored() {
    let scenario = with([write_datagrams(Source::Service, &[b"day", b"send time"])]);
    let trace = passes(&scenario, &[CoverageGoal::ServiceIgnored]);
    let sent = trace.to_string().matches("server sends").count();
    // To the one that tries the server when all has healed.
    assert_eq!(sent, 1);
}

#[test]
fn a_flood_overflows_the_queue_and_the_next_one_is_answered() {
    let mut scenario = with([write_datagrams(Source::Sender, &[&b"day"[..]; 200])]);
    let Behaviour::WriteDatagrams { pause_ms, .. } = &mut scenario.clients[0].behaviour else {
        unreachable!("it writes datagrams");
    };
    *pause_ms = 0;
    scenario.network.datagrams_max = 10;
    scenario.faults = vec![fault(
        1,
        100,
        FaultKind::Slow {
            host: 0,
            latency_ms: 20,
        },
    )];
    let trace = passes(&scenario, &[]);
    assert_eq!(told(&trace, 1).last().map(|told| told.len()), Some(26));
}

#[test]
fn a_partition_is_over_some_time() {
    let scenario = Scenario {
        faults: vec![fault(1, 900, FaultKind::Partition { host: 0 })],
        ..with([ask_datagrams()])
    };
    passes(&scenario, &[CoverageGoal::DatagramRetried]);
}
