//! The scenarios of the canaries and of the excuses.

use chime_protocol::Framing;
use chime_sim_tests::chime::{
    Act, Behaviour, CoverageGoal, Destination, Ending, Form, Header, Listener, Reading, Scenario,
    Server, Source, Target, Timeout,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Network, Text};
use chime_sim_tests::{check, run};
use ipnet::IpNet;

/// A client of each kind, on a network without faults.
pub(crate) fn without_faults() -> Scenario {
    let behaviours = [
        Behaviour::Ask {
            to: Target::default(),
            timeout_ms: Timeout::default(),
            lines: vec!["12345".into(), "quit".into()],
            pause_ms: 5,
        },
        Behaviour::Write {
            to: Target::default(),
            acts: vec![Act::Write(Text::from("day\n99\n")), Act::Shut],
            reading: Reading::Eager,
            ending: Ending::Await,
        },
        Behaviour::AskDatagrams {
            to: Destination::default(),
            timeout_ms: Timeout::default(),
            commands: vec!["date".into()],
            pause_ms: 0,
        },
        Behaviour::WriteDatagrams {
            to: Destination::default(),
            datagrams: vec![Text::from("what?")],
            source: Source::Sender,
            pause_ms: 0,
        },
    ];
    let clients = behaviours.map(|behaviour| Client {
        host: 0,
        start_ms: 1,
        behaviour,
    });
    Scenario {
        clients: clients.into(),
        heal_ms: 1,
        ..Scenario::default()
    }
}

/// One client that does this and reads to EOF.
pub(crate) fn writer(acts: Vec<Act>, reading: Reading, server: Server) -> Scenario {
    let behaviour = Behaviour::Write {
        to: Target::default(),
        acts,
        reading,
        ending: Ending::Await,
    };
    Scenario {
        server,
        heal_ms: 400,
        ..one_client(behaviour)
    }
}

/// One client, and a network that heals late.
pub(crate) fn one_client(behaviour: Behaviour) -> Scenario {
    Scenario {
        clients: vec![Client {
            host: 0,
            start_ms: 1,
            behaviour,
        }],
        heal_ms: 3_000,
        ..Scenario::default()
    }
}

/// A client that says nothing.
pub(crate) fn idle() -> Scenario {
    writer(vec![], Reading::Eager, Server::default())
}

/// A client that connects at this time and says nothing.
pub(crate) fn idle_at(start_ms: u32) -> Scenario {
    let mut scenario = idle();
    scenario.clients[0].start_ms = start_ms;
    scenario
}

/// A client that sends a datagram at this time.
pub(crate) fn datagram_at(start_ms: u32) -> Scenario {
    let mut scenario = one_client(Behaviour::WriteDatagrams {
        to: Destination::default(),
        datagrams: vec![Text::from("what?")],
        source: Source::Sender,
        pause_ms: 0,
    });
    scenario.clients[0].start_ms = start_ms;
    scenario
}

/// A server whose accepts fail until the network heals.
pub(crate) fn failed_accepts() -> Scenario {
    let mut scenario = idle_at(60);
    scenario.network.accept_error_percent = 100;
    scenario
}

/// A server that serves one connection and refuses one at a time. The third waits, and the fourth is in the backlog.
pub(crate) fn permit_awaited() -> Scenario {
    let server = Server {
        connections_max: 1,
        refusals_max: 1,
        ..Server::default()
    };
    idle_clients(4, server)
}

/// A client that sends a request while replies are unsent.
pub(crate) fn blocked_read() -> Scenario {
    let mut scenario = blocked_reply();
    if let Behaviour::Write { acts, .. } = &mut scenario.clients[0].behaviour {
        acts.extend([Act::Pause(20), Act::Write(Text::from("15\n"))]);
    }
    scenario
}

/// A slow reader that does not reach the write timeout.
pub(crate) fn blocked_reply() -> Scenario {
    let reading = Reading::Slow {
        bytes: 50,
        pause_ms: 20,
    };
    Scenario {
        network: small_window(),
        ..writer(many_days(), reading, Server::default())
    }
}

/// A client that sends a request after the others have been served.
pub(crate) fn late_request() -> Scenario {
    let acts = vec![Act::Pause(500), Act::Write(Text::from("15\n"))];
    writer(acts, Reading::Eager, Server::default())
}

/// [`late_request`] with framing `read`.
pub(crate) fn late_request_by_read() -> Scenario {
    let acts = vec![Act::Pause(500), Act::Write(Text::from("15"))];
    let server = Server {
        listeners: vec![Listener {
            framing: Framing::Read,
            ..Listener::default()
        }],
        ..Server::default()
    };
    writer(acts, Reading::Eager, server)
}

/// Two clients whose first bytes arrive in the same millisecond.
pub(crate) fn two_at_once() -> Scenario {
    let write = |text: String| {
        let acts = vec![Act::Write(Text(text.into()))];
        writer(acts, Reading::Eager, Server::default()).clients
    };
    Scenario {
        clients: [write("1".repeat(200)), write("15\n".into())].concat(),
        ..idle()
    }
}

/// Datagrams of which one finds the receive queue full, and one that is sent later.
pub(crate) fn overflow() -> Scenario {
    let send = |start_ms, texts: &[&str]| Client {
        host: 0,
        start_ms,
        behaviour: Behaviour::WriteDatagrams {
            to: Destination::default(),
            datagrams: texts.iter().map(|text| Text::from(*text)).collect(),
            source: Source::Sender,
            pause_ms: 0,
        },
    };
    let network = Network {
        datagrams_max: 1,
        ..Network::default()
    };
    Scenario {
        clients: vec![send(1, &["early", "early"]), send(300, &["late"])],
        network,
        ..idle()
    }
}

/// A client that does not end its line.
pub(crate) fn slow_line() -> Scenario {
    let server = Server {
        line_timeout_ms: 100,
        ..Server::default()
    };
    writer(vec![Act::Write(Text::from("da"))], Reading::Eager, server)
}

/// A client that reads nothing for a second.
pub(crate) fn slow_reader() -> Scenario {
    let server = Server {
        write_timeout_ms: 100,
        ..Server::default()
    };
    let reading = Reading::Slow {
        bytes: 1_000,
        pause_ms: 1_000,
    };
    Scenario {
        network: small_window(),
        ..writer(many_days(), reading, server)
    }
}

/// A client that never closes after `quit`.
pub(crate) fn linger() -> Scenario {
    let mut scenario = writer(
        vec![Act::Write(Text::from("quit\n"))],
        Reading::Eager,
        Server::default(),
    );
    if let Behaviour::Write { acts, ending, .. } = &mut scenario.clients[0].behaviour {
        acts.push(Act::Pause(50));
        *ending = Ending::Forget;
    }
    scenario
}

/// A slow reader when the server shuts down.
pub(crate) fn cut() -> Scenario {
    let server = Server {
        drain_timeout_ms: 100,
        ..Server::default()
    };
    let reading = Reading::Slow {
        bytes: 1_000,
        pause_ms: 1_000,
    };
    with_fault(
        FaultKind::Stop,
        Scenario {
            network: small_window(),
            ..writer(many_days(), reading, server)
        },
    )
}

/// A client that says nothing when the server shuts down.
pub(crate) fn stopped() -> Scenario {
    with_fault(FaultKind::Stop, idle())
}

/// A slow reader that is cut, and a client that connects during the shutdown. The backlog is drained at 60 ms.
pub(crate) fn connect_at_stop(start_ms: u32) -> Scenario {
    let mut scenario = cut();
    scenario.clients.extend(idle_at(start_ms).clients);
    scenario
}

/// A client that sends a request when the server half-closes: at the end of a freeze, during which it shut down.
pub(crate) fn discarded_request() -> Scenario {
    let acts = vec![Act::Pause(96), Act::Write(Text::from("15\n"))];
    let writer = writer(acts, Reading::Eager, Server::default());
    let mut scenario = with_fault(FaultKind::Stop, writer);
    scenario.faults.push(Fault {
        at_ms: 55,
        for_ms: 45,
        kind: FaultKind::Freeze,
    });
    scenario
}

/// A client that sends one request before a fault and one during it.
pub(crate) fn faulty(kind: FaultKind) -> Scenario {
    let acts = vec![
        Act::Write(Text::from("15\n")),
        Act::Pause(100),
        Act::Write(Text::from("24\n")),
    ];
    with_fault(kind, writer(acts, Reading::Eager, Server::default()))
}

/// A fault from 50 ms until the network heals.
pub(crate) fn with_fault(kind: FaultKind, scenario: Scenario) -> Scenario {
    Scenario {
        faults: vec![Fault {
            at_ms: 50,
            for_ms: scenario.heal_ms,
            kind,
        }],
        ..scenario
    }
}

pub(crate) fn many_days() -> Vec<Act> {
    vec![Act::Write(Text::from(&*"day\n".repeat(50)))]
}

pub(crate) fn small_window() -> Network {
    Network {
        window_bytes: 100,
        ..Network::default()
    }
}

/// The timeout of the client library.
const TIMEOUT: Timeout = Timeout(200);

/// A client of the client library that sends its last line after 100 ms.
pub(crate) fn ask(last_line: &str) -> Scenario {
    one_client(Behaviour::Ask {
        to: Target::default(),
        lines: vec!["day".into(), last_line.into()],
        pause_ms: 100,
        timeout_ms: TIMEOUT,
    })
}

/// A pipe whose input ends after 100 ms.
pub(crate) fn pipe() -> Scenario {
    one_client(Behaviour::Pipe {
        to: Target::default(),
        chunks: vec![Text::from("day\n"), Text::from("12\n")],
        pause_ms: 100,
        timeout_ms: TIMEOUT,
    })
}

/// A request by datagram with the client library.
pub(crate) fn ask_datagrams(timeout_ms: u32) -> Scenario {
    one_client(Behaviour::AskDatagrams {
        to: Destination::default(),
        commands: vec!["date".into()],
        pause_ms: 0,
        timeout_ms: Timeout(timeout_ms),
    })
}

/// [`ask_datagrams`] in a partition.
pub(crate) fn lost_datagrams(timeout_ms: u32) -> Scenario {
    let mut scenario = with_fault(FaultKind::Partition { host: 0 }, ask_datagrams(timeout_ms));
    scenario.clients[0].start_ms = 60;
    scenario
}

/// Two requests by datagram at once.
pub(crate) fn datagrams_at_rate(datagram_rate: u32) -> Scenario {
    Scenario {
        server: Server {
            datagram_rate,
            ..Server::default()
        },
        ..one_client(Behaviour::WriteDatagrams {
            to: Destination::default(),
            datagrams: vec![Text::from("date"); 2],
            source: Source::Sender,
            pause_ms: 0,
        })
    }
}

/// A client of the client library that connects while messages are held.
pub(crate) fn held_connect() -> Scenario {
    let mut scenario = with_fault(FaultKind::Hold { host: 0 }, ask("help"));
    scenario.clients[0].start_ms = 60;
    scenario
}

/// A client of the client library that times out before the welcome arrives.
///
/// The server accepts before the partition, and the welcome arrives before the end of the timeout at the earliest.
pub(crate) fn late_welcome() -> Scenario {
    let mut scenario = with_fault(FaultKind::PartitionFromServer { host: 0 }, ask("help"));
    scenario.network.latency_max_ms = 400;
    let mut scenarios = (0..100).map(|rng_seed| Scenario {
        rng_seed,
        ..scenario.clone()
    });
    let times_out = |scenario: &Scenario| {
        let report = check(scenario, &run(scenario)).expect("the run passes");
        report
            .goals
            .contains(&CoverageGoal::LibraryGreetingTimedOut)
    };
    scenarios.find(times_out).expect("a welcome times out")
}

/// A client of the client library that connects to a full server.
pub(crate) fn full() -> Scenario {
    let mut scenario = ask("help");
    scenario.server.connections_max = 1;
    scenario.clients[0].start_ms = 10;
    scenario.clients.extend(idle().clients);
    scenario
}

/// Clients on one host, each of which says nothing.
pub(crate) fn idle_clients(count: usize, server: Server) -> Scenario {
    Scenario {
        clients: vec![idle().clients.remove(0); count],
        server,
        ..idle()
    }
}

/// A server that serves an address one connection at a time.
pub(crate) fn one_per_address() -> Server {
    Server {
        address_connections_max: 1,
        ..Server::default()
    }
}

/// A client that says nothing, whose address the server sees as an IPv4-mapped one.
pub(crate) fn dual_stack() -> Scenario {
    let mut scenario = idle();
    scenario.server.listeners[0].is_dual_stack = true;
    scenario
}

/// Parses networks.
pub(crate) fn networks(networks: &[&str]) -> Vec<IpNet> {
    let networks = networks.iter();
    networks
        .map(|network| network.parse().expect("a network"))
        .collect()
}

/// A server with one listener that expects a PROXY header from proxies in this network.
pub(crate) fn behind_proxies(network: &str) -> Server {
    Server {
        listeners: vec![Listener {
            proxies: networks(&[network]),
            ..Listener::default()
        }],
        ..Server::default()
    }
}

/// A client that sends this PROXY header, if any, to a server that trusts it.
pub(crate) fn proxied(form: Option<Form>) -> Scenario {
    let header = form.map(|form| Header {
        form,
        client: "192.0.2.1".parse().expect("an address"),
        cuts: 0,
        pause_ms: 0,
        is_joined: false,
    });
    let target = Target {
        listener: 0,
        header,
    };
    Scenario {
        server: behind_proxies("192.168.0.0/24"),
        heal_ms: 4_000,
        ..one_client(Behaviour::Write {
            to: target,
            acts: Vec::new(),
            reading: Reading::Eager,
            ending: Ending::Await,
        })
    }
}
