//! Thousands of concurrent clients.

use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Scenario};
use chime_sim_tests::scenario::{Client, FaultKind, Text};

use crate::{act, ask, fault, passes, replies, replies_by_client, with, write};

const HOSTS: usize = 20;
const CLIENTS: usize = 5_000;

/// Ten requests that differ between clients, with replies that do not depend on the time.
fn requests(client: usize) -> Behaviour {
    let digits = (0..9).map(|index| (client * 7 + index).to_string());
    let lines: Vec<String> = digits.chain(["help me".into()]).collect();
    let lines: Vec<&str> = lines.iter().map(|line| &**line).collect();
    ask(&lines, 1)
}

fn scenario(clients: impl Iterator<Item = usize>) -> Scenario {
    let clients = clients.map(|client| Client {
        host: client % HOSTS,
        // All connect before the first completes.
        start_ms: 1,
        behaviour: requests(client),
    });
    let mut scenario = Scenario {
        clients: clients.collect(),
        heal_ms: 1,
        ..Scenario::default()
    };
    scenario.network.latency_max_ms = 5;
    scenario
}

#[test]
fn five_thousand_concurrent_clients_get_the_same_replies_as_one_client() {
    let trace = passes(&scenario(0..CLIENTS), &[]);
    let concurrent = replies_by_client(&trace);
    for client in 0..CLIENTS {
        assert_eq!(concurrent[&client].len(), 10, "client {client}");
    }
    for client in (0..CLIENTS).step_by(251) {
        let alone = passes(&scenario([client].into_iter()), &[]);
        assert_eq!(replies(&alone, 0), concurrent[&client], "client {client}");
    }
}

#[test]
fn two_thousand_busy_connections_of_one_worker_are_drained() {
    let mut scenario = scenario(0..2_000);
    scenario.heal_ms = 100;
    scenario.faults = vec![fault(20, 60, FaultKind::Stop)];
    passes(&scenario, &[CoverageGoal::CrowdAtStop]);
}

#[test]
fn a_flood_of_small_writes_does_not_delay_another_client() {
    let flood = act(vec![Act::Write(Text::from("1")); 400]);
    passes(&with([flood, write(&["15\n"])]), &[]);
}
