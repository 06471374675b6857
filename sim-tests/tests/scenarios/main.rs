//! A test for each kind of situation: what a server, its clients and their network go through.

mod clients;
mod crowd;
mod datagrams;
mod network;
mod server;
mod time;

use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Ending, Reading, Scenario};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, EventKind, Trace};
use chime_sim_tests::{check, run};

/// Runs a scenario that has to be right and to reach these situations.
fn passes(scenario: &Scenario, situations: &[CoverageGoal]) -> Trace {
    let trace = run(scenario);
    let coverage = check(scenario, &trace)
        .unwrap_or_else(|failure| panic!("{failure}\n\n{scenario}\n\n{trace}"));
    for goal in situations {
        assert!(coverage.contains(goal), "{goal:?} not in\n{trace}");
    }
    trace
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

/// A client that writes each of these at once, and then waits for the end.
fn write(texts: &[&str]) -> Behaviour {
    act(texts
        .iter()
        .map(|text| Act::Write(Text::from(*text)))
        .collect())
}

/// A client that does this, and then waits for the end.
fn act(acts: Vec<Act>) -> Behaviour {
    Behaviour::Write {
        acts,
        reading: Reading::Eager,
        ending: Ending::Await,
    }
}

/// A client that asks these lines one after the other.
fn ask(lines: &[&str], pause_ms: u32) -> Behaviour {
    Behaviour::Ask {
        lines: lines.iter().map(|line| (*line).into()).collect(),
        pause_ms,
    }
}

fn fault(at_ms: u32, for_ms: u32, kind: FaultKind) -> Fault {
    Fault {
        at_ms,
        for_ms,
        kind,
    }
}

/// What the library told a client.
fn told(trace: &Trace, client: usize) -> Vec<&str> {
    let events = trace.events.iter();
    events
        .filter_map(|event| match &event.kind {
            EventKind::Client {
                client: its,
                event: ClientEvent::Told(reply),
            } if *its == client => Some(&**reply),
            _ => None,
        })
        .collect()
}
