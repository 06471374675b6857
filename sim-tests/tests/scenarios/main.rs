//! A hand-written scenario for each coverage goal and each kind of fault, and scenarios as data.

mod addresses;
mod clients;
mod datagrams;
mod generate;
mod json;
mod many_clients;
mod network;
mod server;
mod shrink;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use chime_sim_tests::chime::{
    Act, Behaviour, CoverageGoal, Ending, Reading, Scenario, Target, Timeout,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, EventKind, Trace};
use chime_sim_tests::{check, run};

/// Runs a scenario that must pass; returns its trace and the goals that it reached.
fn run_passing(scenario: &Scenario) -> (Trace, BTreeSet<CoverageGoal>) {
    let trace = run(scenario);
    match check(scenario, &trace) {
        Ok(report) => (trace, report.goals),
        Err(failure) => panic!("{failure}\n\n{scenario}\n\n{trace}"),
    }
}

/// Asserts that a scenario passes and reaches these goals.
fn passes(scenario: &Scenario, goals: &[CoverageGoal]) -> Trace {
    let (trace, reached) = run_passing(scenario);
    for goal in goals {
        assert!(reached.contains(goal), "{goal:?} is not reached:\n{trace}");
    }
    trace
}

/// Asserts that all scenarios pass, and that each goal is reached by one of them.
fn all_pass(scenarios: impl Iterator<Item = Scenario>, goals: &[CoverageGoal]) {
    let mut missed = goals.to_vec();
    for scenario in scenarios {
        let (_, reached) = run_passing(&scenario);
        missed.retain(|goal| !reached.contains(goal));
    }
    assert_eq!(missed, [], "no scenario reaches these goals");
}

/// A scenario with these clients, all on one host.
fn with(clients: impl IntoIterator<Item = Behaviour>) -> Scenario {
    let clients = clients.into_iter().map(|behaviour| Client {
        host: 0,
        start_ms: 1,
        behaviour,
    });
    Scenario {
        clients: clients.collect(),
        heal_ms: 1_000,
        ..Scenario::default()
    }
}

/// [`with`], with streams that hold at most `window_bytes` in each direction.
fn with_window(window_bytes: usize, clients: impl IntoIterator<Item = Behaviour>) -> Scenario {
    let mut scenario = with(clients);
    scenario.network.window_bytes = window_bytes;
    scenario
}

/// A client that makes one write of each text, then reads to EOF.
fn write(texts: &[&str]) -> Behaviour {
    let writes = texts.iter().map(|text| Act::Write(Text::from(*text)));
    act(writes.collect())
}

/// A client that performs these acts, then reads to EOF.
fn act(acts: Vec<Act>) -> Behaviour {
    Behaviour::Write {
        to: Target::default(),
        acts,
        reading: Reading::Eager,
        ending: Ending::Await,
    }
}

/// A client that sends `day` many times at once and reads the replies in this way.
fn read(request_count: usize, reading: Reading) -> Behaviour {
    Behaviour::Write {
        to: Target::default(),
        acts: vec![Act::Write(Text("day\n".repeat(request_count).into()))],
        reading,
        ending: Ending::Await,
    }
}

/// A client of the client library, which sends one line after the other.
fn ask(lines: &[&str], pause_ms: u32) -> Behaviour {
    Behaviour::Ask {
        to: Target::default(),
        lines: lines.iter().map(|line| (*line).into()).collect(),
        pause_ms,
        timeout_ms: Timeout::default(),
    }
}

fn fault(at_ms: u32, for_ms: u32, kind: FaultKind) -> Fault {
    Fault {
        at_ms,
        for_ms,
        kind,
    }
}

/// The replies that a client received from the client library.
fn replies(trace: &Trace, client: usize) -> Vec<&str> {
    replies_by_client(trace).remove(&client).unwrap_or_default()
}

fn replies_by_client(trace: &Trace) -> BTreeMap<usize, Vec<&str>> {
    let mut replies: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for event in &trace.events {
        if let EventKind::Client {
            client,
            event: ClientEvent::Reply(reply),
        } = &event.kind
        {
            replies.entry(*client).or_default().push(reply);
        }
    }
    replies
}
