//! For each reason and each excuse, a run that passes because of it alone.

use chime_sim_tests::chime::{
    Act, Behaviour, Destination, Excuse, Part, Reading, Reason, Scenario, Server, Source, Target,
    Timeout,
};
use chime_sim_tests::scenario::{FaultKind, Network, Text};

use crate::scenarios::*;

/// Builds a scenario.
type Build = fn() -> Scenario;

pub(crate) const EXCUSES: &[(Part, Build)] = &[
    (Part::Reason(Reason::ClientLeft), || {
        writer(many_days(), Reading::Never, Server::default())
    }),
    (Part::Reason(Reason::StreamFailed), || Scenario {
        network: Network {
            stream_error_percent: 100,
            ..Network::default()
        },
        ..idle()
    }),
    (Part::Reason(Reason::Partition), || {
        faulty(FaultKind::PartitionFromServer { host: 0 })
    }),
    (Part::Reason(Reason::Killed), || {
        with_fault(FaultKind::Crash, idle())
    }),
    (Part::Reason(Reason::Drain), cut),
    (Part::Reason(Reason::TimedOut), || {
        with_fault(SLOW, ask("help"))
    }),
    (Part::Reason(Reason::SlowReader), slow_reader),
    (Part::Reason(Reason::SlowLine), slow_line),
    (Part::Reason(Reason::Hold), || {
        let mut scenario = with_fault(FaultKind::Hold { host: 0 }, idle());
        scenario.network.latency_min_ms = 20;
        scenario.faults[0].at_ms = 70;
        scenario.faults[0].for_ms = 5_000;
        scenario.heal_ms = 6_000;
        scenario.clients[0].behaviour = Behaviour::Ask {
            to: Target::default(),
            timeout_ms: Timeout::default(),
            lines: vec!["day".into()],
            pause_ms: 0,
        };
        scenario
    }),
    (Part::Reason(Reason::Stop), stopped),
    (Part::Reason(Reason::Idle), idle),
    (Part::Excuse(Excuse::DatagramLost), || Scenario {
        network: Network {
            loss_percent: 100,
            ..Network::default()
        },
        ..late_datagram()
    }),
    (Part::Excuse(Excuse::DatagramOverflow), overflow),
    (Part::Excuse(Excuse::DatagramLinkFault), || {
        with_fault(FaultKind::Partition { host: 0 }, late_datagram())
    }),
    (Part::Excuse(Excuse::DatagramServerDown), || {
        with_fault(FaultKind::Crash, late_datagram())
    }),
    (Part::Excuse(Excuse::DatagramPause), || {
        let mut scenario = with_fault(FaultKind::Stop, late_datagram());
        scenario.network.datagram_error_percent = 100;
        scenario.faults[0].at_ms = 80;
        scenario
    }),
    (Part::Excuse(Excuse::ConnectLinkFault), || {
        with_fault(FaultKind::Partition { host: 0 }, late_client())
    }),
    (Part::Excuse(Excuse::ConnectServerDown), || {
        with_fault(FaultKind::Crash, late_client())
    }),
    (Part::Excuse(Excuse::ConnectPause), || Scenario {
        network: Network {
            accept_error_percent: 100,
            ..Network::default()
        },
        ..late_client()
    }),
    (Part::Excuse(Excuse::ConnectPermit), || {
        let server = Server {
            connections_max: 1,
            refusals_max: 1,
            ..Server::default()
        };
        idle_clients(4, server)
    }),
    (Part::Excuse(Excuse::ConnectTimedOut), || {
        let mut scenario = ask("help");
        scenario.network.latency_min_ms = 150;
        scenario
    }),
    (Part::Excuse(Excuse::ReadLinkFault), || faulty(SLOW)),
    (Part::Excuse(Excuse::ReadUnsent), || {
        let mut scenario = slow_reader();
        if let Behaviour::Write { acts, .. } = &mut scenario.clients[0].behaviour {
            acts.extend([Act::Pause(20), Act::Write(Text::from("day\n"))]);
        }
        scenario
    }),
];

const SLOW: FaultKind = FaultKind::Slow {
    host: 0,
    latency_ms: 500,
};

/// A client that sends a datagram at 60 ms.
fn late_datagram() -> Scenario {
    let mut scenario = one_client(Behaviour::WriteDatagrams {
        to: Destination::default(),
        datagrams: vec![Text::from("what?")],
        source: Source::Sender,
        pause_ms: 0,
    });
    scenario.clients[0].start_ms = 60;
    scenario
}

/// A client that connects at 60 ms.
fn late_client() -> Scenario {
    let mut scenario = idle();
    scenario.clients[0].start_ms = 60;
    scenario
}
