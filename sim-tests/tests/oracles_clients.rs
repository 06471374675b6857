//! Canaries of the oracle of the client library: a wrong wait, error, half-close or retry must fail the check.

use chime_sim_tests::chime::{
    Behaviour, CoverageGoal, Destination, Ending, Reading, Scenario, Target, Timeout,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, End, EventKind, StreamEvent, Trace};
use chime_sim_tests::{check, run};

/// The timeout of the client library.
const TIMEOUT: Timeout = Timeout(200);

/// One client that starts at 1 ms, a network that heals late, and a fault from 50 ms on.
fn with_fault(behaviour: Behaviour, kind: FaultKind) -> Scenario {
    let fault = Fault {
        at_ms: 50,
        for_ms: 3_000,
        kind,
    };
    Scenario {
        clients: vec![client(1, behaviour)],
        faults: vec![fault],
        heal_ms: 3_000,
        ..Scenario::default()
    }
}

fn without_faults(behaviour: Behaviour) -> Scenario {
    Scenario {
        faults: Vec::new(),
        ..with_fault(behaviour, FaultKind::Stop)
    }
}

fn client(start_ms: u32, behaviour: Behaviour) -> Client<Behaviour> {
    Client {
        host: 0,
        start_ms,
        behaviour,
    }
}

const HOLD: FaultKind = FaultKind::Hold { host: 0 };

/// A client that sends its last line after 100 ms.
fn ask(last_line: &str) -> Behaviour {
    Behaviour::Ask {
        to: Target::default(),
        lines: vec!["day".into(), last_line.into()],
        pause_ms: 100,
        timeout_ms: TIMEOUT,
    }
}

/// A pipe whose input ends after 100 ms.
fn pipe() -> Behaviour {
    Behaviour::Pipe {
        to: Target::default(),
        chunks: vec![Text::from("day\n"), Text::from("12\n")],
        pause_ms: 100,
        timeout_ms: TIMEOUT,
    }
}

fn ask_datagrams(timeout_ms: u32) -> Behaviour {
    Behaviour::AskDatagrams {
        to: Destination::default(),
        commands: vec!["date".into()],
        pause_ms: 0,
        timeout_ms: Timeout(timeout_ms),
    }
}

/// Asserts that the trace of a scenario fails its check with this message once `change` has made it wrong.
fn assert_caught(scenario: &Scenario, message: &str, change: impl FnOnce(&mut Trace)) {
    let mut trace = run(scenario);
    if let Err(failure) = check(scenario, &trace) {
        panic!("the original trace fails: {failure}\n{trace}");
    }
    change(&mut trace);
    let failure = check(scenario, &trace).expect_err("the changed trace fails");
    let message = format!("the library of client 0: {message}");
    assert!(failure.message.contains(&message), "{failure}\n{trace}");
    assert!(failure.event < trace.events.len(), "{failure}");
}

/// Returns the index of the first such event of client 0.
fn find(trace: &Trace, is_it: impl Fn(&ClientEvent) -> bool) -> usize {
    let mut events = trace.events.iter();
    let index = events.position(
        |event| matches!(&event.kind, EventKind::Client { client: 0, event } if is_it(event)),
    );
    index.expect("the trace has this event")
}

fn find_error(trace: &Trace) -> usize {
    find(trace, |event| matches!(event, ClientEvent::Failed(_)))
}

fn find_reply(trace: &Trace, wanted: &str) -> usize {
    find(
        trace,
        |event| matches!(event, ClientEvent::Reply(reply) if reply == wanted),
    )
}

/// Replaces an event of client 0.
fn replace(trace: &mut Trace, index: usize, event: ClientEvent) {
    trace.events[index].kind = EventKind::Client { client: 0, event };
}

/// Asserts that a timeout after `timeout_ms` is caught if it is a millisecond early or late.
fn assert_timeout_caught(scenario: &Scenario, timeout_ms: u32) {
    let message = |waited_ms| format!("waited for {waited_ms} ms, its timeout is {timeout_ms} ms");
    assert_caught(scenario, &message(timeout_ms - 1), |trace| {
        let error = find_error(trace);
        trace.events[error].at_ms -= 1;
    });
    assert_caught(scenario, &message(timeout_ms + 1), |trace| {
        let error = find_error(trace);
        trace.events[error].at_ms += 1;
    });
}

#[test]
fn a_timeout_of_a_connect_that_is_early_or_late_is_caught() {
    let mut scenario = with_fault(ask("help"), HOLD);
    scenario.clients[0].start_ms = 60;
    assert_timeout_caught(&scenario, TIMEOUT.0);
}

#[test]
fn a_timeout_of_a_greeting_that_is_early_or_late_is_caught() {
    let mut scenario = with_fault(ask("help"), FaultKind::PartitionFromServer { host: 0 });
    // The server accepts before the partition, and its welcome arrives before the end of the timeout at the earliest.
    scenario.network.latency_min_ms = 1;
    scenario.network.latency_max_ms = 400;
    let reaches = |rng_seed| {
        let scenario = Scenario {
            rng_seed,
            ..scenario.clone()
        };
        let report = check(&scenario, &run(&scenario)).expect("the run passes");
        report
            .goals
            .contains(&CoverageGoal::LibraryGreetingTimedOut)
            .then_some(scenario)
    };
    let scenario = (0..100).find_map(reaches).expect("a greeting times out");
    let trace = run(&scenario);
    let index = find(&trace, |event| {
        *event == ClientEvent::Failed("no reply within 200ms".into())
    });
    for waited_ms in [TIMEOUT.0 - 1, TIMEOUT.0 + 1] {
        assert_caught(&scenario, &format!("waited for {waited_ms} ms"), |trace| {
            let at_ms = &mut trace.events[index].at_ms;
            *at_ms = *at_ms + waited_ms - TIMEOUT.0;
        });
    }
}

#[test]
fn a_timeout_of_a_reply_that_is_early_or_late_is_caught() {
    for behaviour in [ask("help"), ask("12345"), pipe()] {
        assert_timeout_caught(&with_fault(behaviour, HOLD), TIMEOUT.0);
    }
}

#[test]
fn a_reply_after_the_timeout_is_caught() {
    for behaviour in [ask("help"), ask("12345"), pipe()] {
        assert_caught(&without_faults(behaviour), "waited for 202 ms", |trace| {
            let reply = find_reply(trace, "Saturday");
            trace.events[reply].at_ms += TIMEOUT.0;
        });
    }
}

#[test]
fn a_wrong_error_is_caught() {
    let [silence, cut_line, closed] = [
        "no reply within 200ms",
        "a line began but did not end within 200ms",
        "the server closed the connection",
    ];
    let full = "the server is full";
    let holder = Behaviour::Write {
        to: Target::default(),
        acts: Vec::new(),
        reading: Reading::Eager,
        ending: Ending::Await,
    };
    let mut crowded = without_faults(ask("help"));
    crowded.server.connections_max = 1;
    crowded.clients[0].start_ms = 10;
    crowded.clients.push(client(1, holder));
    for (scenario, right, wrong) in [
        (with_fault(ask("help"), HOLD), silence, cut_line),
        (with_fault(pipe(), HOLD), silence, closed),
        (with_fault(ask("help"), FaultKind::Crash), closed, silence),
        (with_fault(pipe(), FaultKind::Crash), closed, full),
        (crowded, full, closed),
    ] {
        let message = format!("failed with '{wrong}', expected '{right}'");
        assert_caught(&scenario, &message, |trace| {
            let error = find_error(trace);
            replace(trace, error, ClientEvent::Failed(wrong.into()));
        });
    }
}

#[test]
fn an_early_eof_without_an_error_is_caught() {
    for behaviour in [ask("help"), pipe()] {
        let scenario = with_fault(behaviour, FaultKind::Crash);
        assert_caught(&scenario, "took an early EOF for the end", |trace| {
            let error = find_error(trace);
            trace.events.remove(error);
        });
    }
}

#[test]
fn a_late_half_close_of_a_pipe_is_caught() {
    assert_caught(
        &without_faults(pipe()),
        "did not half-close at 102 ms, when its input ended",
        |trace| {
            let shut = EventKind::Stream {
                connection: 0,
                end: End::Client,
                event: StreamEvent::Shut,
            };
            let mut events = trace.events.iter_mut();
            let shut = events.find(|event| event.kind == shut);
            shut.expect("the pipe half-closes").at_ms += 1;
        },
    );
}

/// A client whose requests by datagram are lost.
fn lost_datagrams(timeout_ms: u32) -> Scenario {
    let mut scenario = with_fault(ask_datagrams(timeout_ms), FaultKind::Partition { host: 0 });
    scenario.clients[0].start_ms = 60;
    scenario
}

#[test]
fn a_timeout_by_datagram_that_is_early_or_late_is_caught() {
    for timeout_ms in [200, 1_000, 1_500] {
        assert_timeout_caught(&lost_datagrams(timeout_ms), timeout_ms);
    }
}

#[test]
fn a_request_by_datagram_that_is_sent_again_late_or_never_is_caught() {
    let is_second = |kind: &EventKind| matches!(kind, EventKind::Datagram { datagram: 1, .. });
    assert_caught(
        &lost_datagrams(1_500),
        "sent its request after [0, 1001] ms, expected [0, 1000]",
        |trace| {
            let mut events = trace.events.iter_mut();
            let second = events.find(|event| is_second(&event.kind));
            second.expect("a second request").at_ms += 1;
        },
    );
    assert_caught(
        &lost_datagrams(1_500),
        "sent its request after [0] ms, expected [0, 1000]",
        |trace| trace.events.retain(|event| !is_second(&event.kind)),
    );
}

#[test]
fn a_wrong_error_by_datagram_is_caught() {
    // Errors are excused: datagrams may be corrupted, although none is with this seed.
    let mut scenario = without_faults(ask_datagrams(1_500));
    scenario.network.corruption_percent = 1;
    for error in [
        "no reply within 1.5s",
        "unknown reply '26-11-21'",
        "unexpected reply '26-11-21'",
    ] {
        let message = "returned Some((";
        assert_caught(&scenario, message, |trace| {
            let reply = find_reply(trace, "26-11-21");
            replace(trace, reply, ClientEvent::Failed(error.into()));
        });
    }
}
