//! Making a scenario that fails simpler, until all that is left of it matters.

use std::vec::IntoIter;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rand::Rng;

use crate::scenario::{
    Act, Behaviour, Client, Ending, Fault, Network, Reading, Scenario, Server, Source, Text,
};

/// Any scenario, as the swarm draws it.
#[derive(Clone, Copy, Debug)]
pub struct Scenarios;

impl Strategy for Scenarios {
    type Tree = Shrinking;
    type Value = Scenario;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Scenarios> {
        Ok(Shrinking::new(Scenario::from_seed(runner.rng().next_u64())))
    }
}

/// A scenario that is made simpler for as long as it fails.
#[derive(Debug)]
pub struct Shrinking {
    /// The simplest that is known to fail.
    failing: Scenario,
    /// Simpler ones that are to be tried.
    candidates: IntoIter<Scenario>,
    current: Scenario,
}

impl Shrinking {
    fn new(scenario: Scenario) -> Shrinking {
        Shrinking {
            failing: scenario.clone(),
            candidates: Vec::new().into_iter(),
            current: scenario,
        }
    }

    fn try_next(&mut self) -> bool {
        let next = self.candidates.next();
        let is_left = next.is_some();
        self.current = next.unwrap_or_else(|| self.failing.clone());
        is_left
    }
}

impl ValueTree for Shrinking {
    type Value = Scenario;

    fn current(&self) -> Scenario {
        self.current.clone()
    }

    fn simplify(&mut self) -> bool {
        self.failing = self.current.clone();
        self.candidates = simpler(&self.failing).into_iter();
        self.try_next()
    }

    fn complicate(&mut self) -> bool {
        self.try_next()
    }
}

/// The simplest scenario found that still `fails`, in at most so many tries.
pub fn shrink(scenario: Scenario, tries_max: usize, fails: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut tree = Shrinking::new(scenario);
    let mut is_left = tree.simplify();
    for _ in 0..tries_max {
        if !is_left {
            break;
        }
        is_left = match fails(&tree.current) {
            true => tree.simplify(),
            false => tree.complicate(),
        };
    }
    tree.failing
}

/// Scenarios that are a little simpler, those first that leave out most.
fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    for clients in fewer(&scenario.clients) {
        found.push(Scenario {
            clients,
            ..scenario.clone()
        });
    }
    for faults in fewer(&scenario.faults) {
        found.push(Scenario {
            faults,
            ..scenario.clone()
        });
    }
    for network in simpler_networks(scenario.network) {
        found.push(Scenario {
            network,
            ..scenario.clone()
        });
    }
    for server in simpler_servers(&scenario.server) {
        found.push(Scenario {
            server,
            ..scenario.clone()
        });
    }
    for (index, client) in scenario.clients.iter().enumerate() {
        for client in simpler_clients(client) {
            let mut changed = scenario.clone();
            changed.clients[index] = client;
            found.push(changed);
        }
    }
    for (index, fault) in scenario.faults.iter().enumerate() {
        for fault in simpler_faults(fault) {
            let mut changed = scenario.clone();
            changed.faults[index] = fault;
            found.push(changed);
        }
    }
    for heal_ms in smaller(scenario.heal_ms) {
        found.push(Scenario {
            heal_ms,
            ..scenario.clone()
        });
    }
    if scenario.seed > 0 {
        found.push(Scenario {
            seed: scenario.seed / 2,
            ..scenario.clone()
        });
        found.push(Scenario {
            seed: 0,
            ..scenario.clone()
        });
    }
    found
}

/// Without one half, without the other, and without each.
fn fewer<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let (first, second) = items.split_at(items.len() / 2);
    let mut found = Vec::new();
    if items.len() > 1 {
        found.extend([first.to_vec(), second.to_vec()]);
    }
    for index in 0..items.len() {
        let mut rest = items.to_vec();
        rest.remove(index);
        found.push(rest);
    }
    found
}

fn smaller(number: u32) -> impl Iterator<Item = u32> {
    [0, number / 2, number - number.min(1)]
        .into_iter()
        .filter(move |smaller| *smaller < number)
}

fn simpler_networks(network: Network) -> Vec<Network> {
    let calm = Network::default();
    let changed = [
        Network {
            latency_min_ms: calm.latency_min_ms,
            latency_max_ms: calm.latency_max_ms,
            ..network
        },
        Network {
            window_bytes: calm.window_bytes,
            ..network
        },
        Network {
            cut_percent: 0,
            ..network
        },
        Network {
            glue_percent: 0,
            ..network
        },
        Network {
            pending_percent: 0,
            ..network
        },
        Network {
            stream_error_percent: 0,
            ..network
        },
        Network {
            accept_error_percent: 0,
            ..network
        },
        Network {
            loss_percent: 0,
            ..network
        },
        Network {
            duplication_percent: 0,
            ..network
        },
        Network {
            corruption_percent: 0,
            ..network
        },
        Network {
            datagram_error_percent: 0,
            ..network
        },
        Network {
            datagrams_max: calm.datagrams_max,
            ..network
        },
    ];
    changed
        .into_iter()
        .filter(|changed| *changed != network)
        .collect()
}

fn simpler_servers(server: &Server) -> Vec<Server> {
    let calm = Server::default();
    let changed = [
        Server {
            service: calm.service,
            ..server.clone()
        },
        Server {
            clock: calm.clock,
            ..server.clone()
        },
        Server {
            connections_max: calm.connections_max,
            ..server.clone()
        },
        Server {
            idle_timeout_ms: calm.idle_timeout_ms,
            ..server.clone()
        },
        Server {
            line_timeout_ms: calm.line_timeout_ms,
            ..server.clone()
        },
        Server {
            write_timeout_ms: calm.write_timeout_ms,
            ..server.clone()
        },
        Server {
            drain_timeout_ms: calm.drain_timeout_ms,
            ..server.clone()
        },
    ];
    changed
        .into_iter()
        .filter(|changed| changed != server)
        .collect()
}

fn simpler_clients(client: &Client) -> Vec<Client> {
    let mut found: Vec<Client> = simpler_behaviours(&client.behaviour)
        .into_iter()
        .map(|behaviour| Client {
            behaviour,
            ..client.clone()
        })
        .collect();
    if client.host > 0 {
        found.push(Client {
            host: 0,
            ..client.clone()
        });
    }
    found.extend(smaller(client.start_ms).map(|start_ms| Client {
        start_ms,
        ..client.clone()
    }));
    found
}

fn simpler_behaviours(behaviour: &Behaviour) -> Vec<Behaviour> {
    let with = |change: &dyn Fn(&mut Behaviour)| {
        let mut changed = behaviour.clone();
        change(&mut changed);
        changed
    };
    let mut found: Vec<Behaviour> = match behaviour.clone() {
        Behaviour::Ask { lines, pause_ms } => fewer(&lines)
            .into_iter()
            .map(|lines| Behaviour::Ask { lines, pause_ms })
            .collect(),
        Behaviour::AskDatagrams { commands, pause_ms } => fewer(&commands)
            .into_iter()
            .map(|commands| Behaviour::AskDatagrams { commands, pause_ms })
            .collect(),
        Behaviour::Pipe { chunks, pause_ms } => simpler_texts(&chunks)
            .into_iter()
            .map(|chunks| Behaviour::Pipe { chunks, pause_ms })
            .collect(),
        Behaviour::WriteDatagrams {
            datagrams,
            source,
            pause_ms,
        } => simpler_texts(&datagrams)
            .into_iter()
            .map(|datagrams| Behaviour::WriteDatagrams {
                datagrams,
                source,
                pause_ms,
            })
            .collect(),
        Behaviour::Write {
            acts,
            reading,
            ending,
        } => simpler_acts(&acts)
            .into_iter()
            .map(|acts| Behaviour::Write {
                acts,
                reading: reading.clone(),
                ending,
            })
            .collect(),
    };
    found.push(with(&|changed| match changed {
        Behaviour::Ask { pause_ms, .. }
        | Behaviour::Pipe { pause_ms, .. }
        | Behaviour::AskDatagrams { pause_ms, .. } => *pause_ms = 0,
        Behaviour::WriteDatagrams {
            pause_ms, source, ..
        } => {
            *pause_ms = 0;
            *source = Source::Sender;
        }
        Behaviour::Write { reading, .. } => *reading = Reading::Eager,
    }));
    found.push(with(&|changed| {
        if let Behaviour::Write { ending, .. } = changed {
            *ending = Ending::Await;
        }
    }));
    found.retain(|changed| changed != behaviour);
    found
}

/// Fewer of them, and each shorter.
fn simpler_texts(texts: &[Text]) -> Vec<Vec<Text>> {
    let mut found = fewer(texts);
    for (index, text) in texts.iter().enumerate() {
        for shorter in shorter(text) {
            let mut changed = texts.to_vec();
            changed[index] = shorter;
            found.push(changed);
        }
    }
    found
}

fn simpler_acts(acts: &[Act]) -> Vec<Vec<Act>> {
    let mut found = fewer(acts);
    for (index, act) in acts.iter().enumerate() {
        let simpler: Vec<Act> = match act {
            Act::Write(text) => shorter(text).into_iter().map(Act::Write).collect(),
            Act::Pause(pause_ms) => smaller(*pause_ms).map(Act::Pause).collect(),
            Act::Shut => Vec::new(),
        };
        for act in simpler {
            let mut changed = acts.to_vec();
            changed[index] = act;
            found.push(changed);
        }
    }
    found
}

/// One half, the other, and without the last byte.
fn shorter(text: &Text) -> Vec<Text> {
    if text.len() < 2 {
        return Vec::new();
    }
    let (first, second) = text.split_at(text.len() / 2);
    [first, second, &text[..text.len() - 1]]
        .map(Text::from)
        .into()
}

fn simpler_faults(fault: &Fault) -> Vec<Fault> {
    let sooner = smaller(fault.at_ms).map(|at_ms| Fault {
        at_ms,
        ..fault.clone()
    });
    let shorter = smaller(fault.for_ms).map(|for_ms| Fault {
        for_ms,
        ..fault.clone()
    });
    sooner.chain(shorter).collect()
}
