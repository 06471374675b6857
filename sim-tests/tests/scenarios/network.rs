//! A network that fails, at every step of a conversation.

use crate::{act, ask, fault, passes, told, with};
use chime_sim_tests::chime::{Act, CoverageGoal, Scenario};
use chime_sim_tests::scenario::{FaultKind, Network, Text};

/// Two conversations with something going on in most of their milliseconds.
fn conversation() -> Scenario {
    let in_mid_line = act(vec![
        Act::Write(Text::from("1\n2\nda")),
        Act::Pause(10),
        Act::Write(Text::from("y\nquit\n")),
    ]);
    Scenario {
        heal_ms: 300,
        ..with([ask(&["day", "12345", "quit"], 3), in_mid_line])
    }
}

/// Runs the conversation with a fault that strikes at each millisecond of it.
fn at_every_step(for_ms: u32, kind: &FaultKind, situations: &[CoverageGoal]) {
    let mut reached_by_one = false;
    for at_ms in 1..40 {
        let scenario = Scenario {
            faults: vec![fault(at_ms, for_ms, kind.clone())],
            ..conversation()
        };
        let trace = chime_sim_tests::run(&scenario);
        let coverage = chime_sim_tests::check(&scenario, &trace)
            .unwrap_or_else(|failure| panic!("{failure}\n\n{scenario}\n\n{trace}"));
        reached_by_one |= situations.iter().all(|goal| coverage.contains(goal));
    }
    assert!(reached_by_one, "{situations:?}");
}

#[test]
fn t12_a_partition_at_any_step_is_survived() {
    at_every_step(
        100,
        &FaultKind::Partition { host: 0 },
        &[CoverageGoal::Partitioned],
    );
}

#[test]
fn one_direction_may_fail_at_any_step() {
    let one_way = [CoverageGoal::PartitionedOneWay];
    at_every_step(100, &FaultKind::PartitionToServer { host: 0 }, &one_way);
    at_every_step(100, &FaultKind::PartitionFromServer { host: 0 }, &one_way);
}

#[test]
fn messages_may_be_held_at_any_step() {
    at_every_step(
        100,
        &FaultKind::Hold { host: 0 },
        &[CoverageGoal::ServedAfterHold],
    );
}

#[test]
fn the_link_may_become_slow_at_any_step() {
    at_every_step(
        100,
        &FaultKind::Slow {
            host: 0,
            latency_ms: 200,
        },
        &[],
    );
}

#[test]
fn the_server_may_crash_at_any_step() {
    at_every_step(50, &FaultKind::Crash, &[CoverageGoal::Killed]);
    at_every_step(50, &FaultKind::Crash, &[CoverageGoal::ServedAnew]);
}

#[test]
fn the_server_may_be_told_to_stop_at_any_step() {
    at_every_step(50, &FaultKind::Stop, &[CoverageGoal::StoppedInMidLine]);
    at_every_step(5, &FaultKind::Stop, &[CoverageGoal::ServedAnew]);
}

#[test]
fn any_latency_up_to_half_a_second_will_do() {
    for latency_max_ms in [0, 1, 10, 100, 500] {
        let scenario = Scenario {
            network: Network {
                latency_min_ms: 0,
                latency_max_ms,
                ..Network::default()
            },
            ..conversation()
        };
        let trace = passes(&scenario, &[]);
        assert_eq!(told(&trace, 0).len(), 3);
    }
}

#[test]
fn a_partition_of_one_host_is_none_of_the_others() {
    let mut scenario = Scenario {
        faults: vec![fault(5, 200, FaultKind::Partition { host: 0 })],
        ..conversation()
    };
    scenario.clients[1].host = 1;
    passes(&scenario, &[CoverageGoal::Partitioned]);
}

#[test]
fn streams_may_cut_join_and_hesitate() {
    let mut cut_count = 0;
    for seed in 0..20 {
        let scenario = Scenario {
            rng_seed: seed,
            network: Network {
                cut_percent: 50,
                glue_percent: 50,
                pending_percent: 50,
                window_bytes: 40,
                ..Network::default()
            },
            ..conversation()
        };
        let trace = passes(&scenario, &[]);
        assert_eq!(told(&trace, 0).len(), 3);
        cut_count += usize::from(trace.to_string().contains("not all"));
    }
    assert!(cut_count > 10, "{cut_count}");
}

#[test]
fn streams_may_fail_at_any_step() {
    let mut coverage = 0;
    for seed in 0..50 {
        let scenario = Scenario {
            rng_seed: seed,
            network: Network {
                stream_error_percent: 5,
                ..Network::default()
            },
            ..conversation()
        };
        let trace = passes(&scenario, &[]);
        coverage += usize::from(trace.to_string().contains("injected"));
    }
    assert!(coverage > 10, "{coverage}");
}
