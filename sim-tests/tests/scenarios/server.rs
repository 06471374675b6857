//! A server that is full, stopped, or short of something.

use crate::{act, ask, fault, passes, told, with, write};
use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Ending, Reading, Scenario, Server};
use chime_sim_tests::scenario::{FaultKind, Network, Text};

#[test]
fn whoever_comes_when_it_is_full_is_told_so() {
    let stays = || {
        act(vec![
            Act::Write(Text::from("1\n")),
            Act::Pause(500),
            Act::Shut,
        ])
    };
    let mut scenario = with([stays(), stays(), write(&["2\n"]), ask(&["3"], 300)]);
    scenario.clients[2].start_ms = 50;
    scenario.clients[3].start_ms = 50;
    scenario.server = Server {
        connections_max: 2,
        ..Server::default()
    };
    let trace = passes(
        &scenario,
        &[CoverageGoal::Refused, CoverageGoal::ServedAnew],
    );
    assert_eq!(told(&trace, 3), ["3"]);
}

#[test]
fn the_idle_make_room_for_others() {
    let silent = || Behaviour::Write {
        acts: Vec::new(),
        reading: Reading::Eager,
        ending: Ending::Forget,
    };
    let mut scenario = with([silent(), silent(), ask(&["day"], 900)]);
    scenario.clients[2].start_ms = 50;
    scenario.server = Server {
        connections_max: 2,
        idle_timeout_ms: 1_000,
        ..Server::default()
    };
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
    let drips = || {
        let drop = || [Act::Write(Text::from("1")), Act::Pause(200)];
        act((0..50).flat_map(|_| drop()).collect())
    };
    let mut scenario = with((0..20).map(|_| drips()).chain([ask(&["day"; 10], 100)]));
    scenario.server = Server {
        line_timeout_ms: 1_000,
        ..Server::default()
    };
    let trace = passes(&scenario, &[CoverageGoal::SlowLineClosed]);
    assert_eq!(told(&trace, 20).len(), 10);
}

#[test]
fn t09_clients_that_never_read_are_closed_and_others_are_served() {
    let slow = || Behaviour::Write {
        acts: vec![Act::Write(Text("day\n".repeat(1_000).into()))],
        reading: Reading::Slow {
            bytes: 20,
            pause_ms: 1_500,
        },
        ending: Ending::Await,
    };
    let mut scenario = with((0..20).map(|_| slow()).chain([ask(&["day"; 10], 100)]));
    scenario.network.window_bytes = 100;
    scenario.server = Server {
        write_timeout_ms: 500,
        ..Server::default()
    };
    let trace = passes(&scenario, &[CoverageGoal::SlowReaderClosed]);
    assert_eq!(told(&trace, 20).len(), 10);
}

#[test]
fn failures_to_accept_pass() {
    for seed in 0..20 {
        let scenario = Scenario {
            rng_seed: seed,
            network: Network {
                accept_error_percent: 50,
                ..Network::default()
            },
            ..with((0..5).map(|_| ask(&["1", "2"], 10)))
        };
        let trace = passes(&scenario, &[]);
        assert!((0..5).all(|client| told(&trace, client) == ["1", "2"]));
    }
}

#[test]
fn what_was_asked_before_a_stop_is_answered() {
    for at_ms in 5..15 {
        let scenario = Scenario {
            faults: vec![fault(at_ms, 100, FaultKind::Stop)],
            network: Network {
                latency_max_ms: 3,
                ..Network::default()
            },
            ..with((0..5).map(|_| write(&["1\n2\n3\n4\n5\n", "half a li"])))
        };
        passes(&scenario, &[CoverageGoal::StoppedInMidLine]);
    }
}

#[test]
fn a_slow_reader_gets_its_answers_after_a_stop() {
    let slow = Behaviour::Write {
        acts: vec![Act::Write(Text("day\n".repeat(100).into()))],
        reading: Reading::Slow {
            bytes: 20,
            pause_ms: 5,
        },
        ending: Ending::Await,
    };
    let scenario = Scenario {
        faults: vec![fault(50, 900, FaultKind::Stop)],
        network: Network {
            window_bytes: 100,
            ..Network::default()
        },
        ..with([slow])
    };
    passes(&scenario, &[CoverageGoal::AnsweredAfterStop]);
}

#[test]
fn the_drain_timeout_bounds_a_stop() {
    let deaf = Behaviour::Write {
        acts: vec![Act::Write(Text("day\n".repeat(100).into()))],
        reading: Reading::Never,
        ending: Ending::Await,
    };
    let scenario = Scenario {
        faults: vec![fault(50, 900, FaultKind::Stop)],
        network: Network {
            window_bytes: 100,
            ..Network::default()
        },
        server: Server {
            drain_timeout_ms: 200,
            ..Server::default()
        },
        ..with([deaf])
    };
    passes(&scenario, &[CoverageGoal::DrainTimedOut]);
}

#[test]
fn a_server_may_crash_again_and_again() {
    let scenario = Scenario {
        faults: (0..5)
            .map(|index| fault(50 + 170 * index, 20, FaultKind::Crash))
            .collect(),
        ..with((0..5).map(|_| ask(&["1", "2", "3", "4", "5"], 100)))
    };
    passes(&scenario, &[CoverageGoal::Killed, CoverageGoal::ServedAnew]);
}
