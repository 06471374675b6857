//! The scenarios of the canaries and of the excuses.

use chime_sim_tests::chime::{
    Act, Behaviour, Destination, Ending, Reading, Scenario, Server, Source, Target, Timeout,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Network, Text};

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
        clients: vec![Client {
            host: 0,
            start_ms: 1,
            behaviour,
        }],
        heal_ms: 400,
        ..Scenario::default()
    }
}

/// A client that says nothing.
pub(crate) fn idle() -> Scenario {
    writer(vec![], Reading::Eager, Server::default())
}

/// A client that sends a request after the others have been served.
pub(crate) fn late_request() -> Scenario {
    let acts = vec![Act::Pause(500), Act::Write(Text::from("15\n"))];
    writer(acts, Reading::Eager, Server::default())
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

/// A client that sends one request before a fault and one during it.
pub(crate) fn faulty(kind: FaultKind) -> Scenario {
    let acts = vec![
        Act::Write(Text::from("15\n")),
        Act::Pause(100),
        Act::Write(Text::from("24\n")),
    ];
    with_fault(kind, writer(acts, Reading::Eager, Server::default()))
}

/// A fault from 50 to 350 ms.
pub(crate) fn with_fault(kind: FaultKind, scenario: Scenario) -> Scenario {
    Scenario {
        faults: vec![Fault {
            at_ms: 50,
            for_ms: 300,
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
