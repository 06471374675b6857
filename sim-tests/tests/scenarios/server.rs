//! A server at its limits, in graceful shutdown, with accept errors, and after crashes.

use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Ending, Reading, Scenario, Target};
use chime_sim_tests::scenario::{FaultKind, Text};

use crate::{act, ask, fault, passes, read, replies, with, with_window, write};

#[test]
fn clients_over_the_connection_limit_are_refused() {
    let stay = || {
        act(vec![
            Act::Write(Text::from("1\n")),
            Act::Pause(500),
            Act::Shut,
        ])
    };
    let mut scenario = with([stay(), stay(), write(&["2\n"]), ask(&["3"], 300)]);
    scenario.clients[2].start_ms = 50;
    scenario.clients[3].start_ms = 50;
    scenario.server.connections_max = 2;
    let trace = passes(
        &scenario,
        &[CoverageGoal::Refused, CoverageGoal::ServedAnew],
    );
    assert_eq!(replies(&trace, 3), ["3"]);
}

#[test]
fn the_idle_timeout_frees_connection_permits() {
    let idle = || Behaviour::Write {
        to: Target::default(),
        acts: Vec::new(),
        reading: Reading::Eager,
        ending: Ending::Forget,
    };
    let mut scenario = with([idle(), idle(), ask(&["day"], 900)]);
    scenario.clients[2].start_ms = 50;
    scenario.server.connections_max = 2;
    scenario.server.idle_timeout_ms = 1_000;
    passes(
        &scenario,
        &[
            CoverageGoal::Refused,
            CoverageGoal::ForgottenClosed,
            CoverageGoal::ServedAnew,
        ],
    );
}

#[test]
fn t07_slow_writers_are_closed_and_others_are_served() {
    let slow_writer = || {
        let byte = || [Act::Write(Text::from("1")), Act::Pause(200)];
        act((0..50).flat_map(|_| byte()).collect())
    };
    let slow_writers = (0..20).map(|_| slow_writer());
    let mut scenario = with(slow_writers.chain([ask(&["day"; 10], 100)]));
    scenario.server.line_timeout_ms = 1_000;
    let trace = passes(&scenario, &[CoverageGoal::SlowLineClosed]);
    assert_eq!(replies(&trace, 20).len(), 10);
}

#[test]
fn t09_slow_readers_are_closed_and_others_are_served() {
    let slow = Reading::Slow {
        bytes: 20,
        pause_ms: 1_500,
    };
    let slow_readers = (0..20).map(|_| read(1_000, slow.clone()));
    let mut scenario = with_window(100, slow_readers.chain([ask(&["day"; 10], 100)]));
    scenario.server.write_timeout_ms = 500;
    let trace = passes(&scenario, &[CoverageGoal::SlowReaderClosed]);
    assert_eq!(replies(&trace, 20).len(), 10);
}

#[test]
fn failed_accepts_are_retried() {
    for rng_seed in 0..20 {
        let mut scenario = with((0..5).map(|_| ask(&["1", "2"], 10)));
        scenario.rng_seed = rng_seed;
        scenario.network.accept_error_percent = 50;
        let trace = passes(&scenario, &[]);
        for client in 0..5 {
            assert_eq!(replies(&trace, client), ["1", "2"], "client {client}");
        }
    }
}

#[test]
fn requests_received_before_shutdown_are_answered() {
    for at_ms in 5..15 {
        let mut scenario = with((0..5).map(|_| write(&["1\n2\n3\n4\n5\n", "half a li"])));
        scenario.faults = vec![fault(at_ms, 100, FaultKind::Stop)];
        scenario.network.latency_max_ms = 3;
        passes(&scenario, &[CoverageGoal::StoppedInMidLine]);
    }
}

/// A client that reads the replies to 100 requests in this way, and a graceful shutdown meanwhile.
fn shutdown_while_reading(reading: Reading) -> Scenario {
    Scenario {
        faults: vec![fault(50, 900, FaultKind::Stop)],
        ..with_window(100, [read(100, reading)])
    }
}

#[test]
fn a_slow_reader_receives_its_replies_after_shutdown() {
    let scenario = shutdown_while_reading(Reading::Slow {
        bytes: 20,
        pause_ms: 5,
    });
    passes(&scenario, &[CoverageGoal::AnsweredAfterStop]);
}

#[test]
fn the_drain_timeout_bounds_a_graceful_shutdown() {
    let mut scenario = shutdown_while_reading(Reading::Never);
    scenario.server.drain_timeout_ms = 200;
    passes(&scenario, &[CoverageGoal::DrainTimedOut]);
}

#[test]
fn clients_are_served_after_repeated_crashes() {
    let crashes = (0..5).map(|index| fault(50 + 170 * index, 20, FaultKind::Crash));
    let scenario = Scenario {
        faults: crashes.collect(),
        ..with((0..5).map(|_| ask(&["1", "2", "3", "4", "5"], 100)))
    };
    passes(&scenario, &[CoverageGoal::Killed, CoverageGoal::ServedAnew]);
}
