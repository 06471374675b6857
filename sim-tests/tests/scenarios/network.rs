//! Network faults at every step of a conversation.

use chime_sim_tests::chime::{Act, CoverageGoal, Scenario};
use chime_sim_tests::scenario::{FaultKind, Network, Text};
use chime_sim_tests::trace::{EventKind, StreamEvent, Trace};

use crate::{act, all_pass, ask, fault, passes, replies, with};

/// Two conversations, with events in most of their milliseconds.
fn conversations() -> Scenario {
    let split_line = act(vec![
        Act::Write(Text::from("1\n2\nda")),
        Act::Pause(10),
        Act::Write(Text::from("y\nquit\n")),
    ]);
    Scenario {
        heal_ms: 300,
        ..with([ask(&["day", "12345", "quit"], 3), split_line])
    }
}

/// Asserts that the conversations pass with a fault at each of their milliseconds, and that one run reaches the goal.
fn at_every_step(for_ms: u32, kind: &FaultKind, goal: Option<CoverageGoal>) {
    let scenarios = (1..40).map(|at_ms| Scenario {
        faults: vec![fault(at_ms, for_ms, kind.clone())],
        ..conversations()
    });
    all_pass(scenarios, goal.as_slice());
}

#[test]
fn t12_a_partition_at_any_step_is_survived() {
    let partition = FaultKind::Partition { host: 0 };
    at_every_step(100, &partition, Some(CoverageGoal::Partitioned));
}

#[test]
fn a_one_way_partition_at_any_step_is_survived() {
    let goal = Some(CoverageGoal::PartitionedOneWay);
    at_every_step(100, &FaultKind::PartitionToServer { host: 0 }, goal);
    at_every_step(100, &FaultKind::PartitionFromServer { host: 0 }, goal);
}

#[test]
fn messages_held_at_any_step_are_delivered_later() {
    let hold = FaultKind::Hold { host: 0 };
    at_every_step(100, &hold, Some(CoverageGoal::ServedAfterHold));
}

#[test]
fn a_rise_of_the_latency_at_any_step_is_survived() {
    let slow = FaultKind::Slow {
        host: 0,
        latency_ms: 200,
    };
    at_every_step(100, &slow, None);
}

#[test]
fn a_crash_at_any_step_is_survived() {
    at_every_step(50, &FaultKind::Crash, Some(CoverageGoal::Killed));
    at_every_step(50, &FaultKind::Crash, Some(CoverageGoal::ServedAnew));
}

#[test]
fn a_graceful_shutdown_at_any_step_is_survived() {
    at_every_step(50, &FaultKind::Stop, Some(CoverageGoal::StoppedInMidLine));
    at_every_step(5, &FaultKind::Stop, Some(CoverageGoal::ServedAnew));
}

#[test]
fn conversations_complete_with_any_latency_up_to_half_a_second() {
    for latency_max_ms in [0, 1, 10, 100, 500] {
        let mut scenario = conversations();
        scenario.network.latency_min_ms = 0;
        scenario.network.latency_max_ms = latency_max_ms;
        let trace = passes(&scenario, &[]);
        assert_eq!(replies(&trace, 0).len(), 3, "{latency_max_ms} ms");
    }
}

#[test]
fn a_partition_of_one_host_does_not_affect_others() {
    let mut scenario = conversations();
    scenario.faults = vec![fault(5, 200, FaultKind::Partition { host: 0 })];
    scenario.clients[1].host = 1;
    passes(&scenario, &[CoverageGoal::Partitioned]);
}

#[test]
fn short_reads_short_writes_and_pending_polls_lose_no_reply() {
    let is_short = |event: &StreamEvent| matches!(event, StreamEvent::Wrote { is_short: true, .. });
    let mut short_count = 0;
    for rng_seed in 0..20 {
        let network = Network {
            cut_percent: 50,
            glue_percent: 50,
            pending_percent: 50,
            window_bytes: 40,
            ..Network::default()
        };
        let scenario = Scenario {
            rng_seed,
            network,
            ..conversations()
        };
        let trace = passes(&scenario, &[]);
        assert_eq!(replies(&trace, 0).len(), 3);
        short_count += usize::from(has_stream_event(&trace, is_short));
    }
    assert!(short_count > 10, "{short_count} runs with short writes");
}

#[test]
fn stream_errors_are_survived() {
    let is_injected = |event: &StreamEvent| {
        matches!(
            event,
            StreamEvent::Failed {
                is_injected: true,
                ..
            }
        )
    };
    let mut error_count = 0;
    for rng_seed in 0..50 {
        let mut scenario = conversations();
        scenario.rng_seed = rng_seed;
        scenario.network.stream_error_percent = 5;
        let trace = passes(&scenario, &[]);
        error_count += usize::from(has_stream_event(&trace, is_injected));
    }
    assert!(error_count > 10, "{error_count} runs with stream errors");
}

fn has_stream_event(trace: &Trace, is_it: impl Fn(&StreamEvent) -> bool) -> bool {
    let mut events = trace.events.iter();
    events.any(|event| matches!(&event.kind, EventKind::Stream { event, .. } if is_it(event)))
}
