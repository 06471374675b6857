//! Thousands of clients at a time.

use crate::{ask, passes, told};
use chime_sim_tests::chime::{Behaviour, Scenario};
use chime_sim_tests::scenario::{Client, Network};

const HOSTS: usize = 20;
const CLIENTS: usize = 5_000;

/// Ten requests whose replies do not depend on the time, other ones for each client.
fn lines(client: usize) -> Behaviour {
    let mut lines: Vec<String> = (0..9)
        .map(|index| (client * 7 + index).to_string())
        .collect();
    lines.push("help me".into());
    let lines: Vec<&str> = lines.iter().map(|line| &**line).collect();
    ask(&lines, 1)
}

fn crowd(clients: impl Iterator<Item = usize>) -> Scenario {
    let clients = clients.map(|client| Client {
        host: client % HOSTS,
        // All are connected before the first is done.
        start_ms: 1,
        behaviour: lines(client),
    });
    Scenario {
        clients: clients.collect(),
        network: Network {
            latency_max_ms: 5,
            ..Network::default()
        },
        heal_ms: 1,
        ..Scenario::default()
    }
}

#[test]
fn five_thousand_clients_at_a_time_each_get_what_they_get_alone() {
    let trace = passes(&crowd(0..CLIENTS), &[]);
    let mut told_in_crowd = vec![Vec::new(); CLIENTS];
    for event in &trace.events {
        if let chime_sim_tests::trace::EventKind::Client {
            client,
            event: chime_sim_tests::trace::ClientEvent::Told(reply),
        } = &event.kind
            && *client < CLIENTS
        {
            told_in_crowd[*client].push(&**reply);
        }
    }
    assert!(told_in_crowd.iter().all(|told| told.len() == 10));
    for client in (0..CLIENTS).step_by(251) {
        let alone = passes(&crowd([client].into_iter()), &[]);
        assert_eq!(told(&alone, 0), told_in_crowd[client]);
    }
}
