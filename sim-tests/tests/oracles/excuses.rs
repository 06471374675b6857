//! For each reason and each excuse, a run that passes because of it alone.

use chime_sim_tests::chime::{
    Behaviour, Excuse, Part, Reading, Reason, Scenario, Server, Target, Timeout,
};
use chime_sim_tests::scenario::{FaultKind, Network};

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
        ..datagram_at(60)
    }),
    (Part::Excuse(Excuse::DatagramOverflow), overflow),
    (Part::Excuse(Excuse::DatagramLinkFault), || {
        with_fault(FaultKind::Partition { host: 0 }, datagram_at(60))
    }),
    (Part::Excuse(Excuse::DatagramServerDown), || {
        with_fault(FaultKind::Crash, datagram_at(60))
    }),
    (Part::Excuse(Excuse::DatagramPause), || {
        let mut scenario = with_fault(FaultKind::Crash, datagram_at(60));
        scenario.network.datagram_error_percent = 100;
        scenario.faults[0].at_ms = 80;
        scenario
    }),
    (Part::Excuse(Excuse::ConnectLinkFault), || {
        with_fault(FaultKind::Partition { host: 0 }, idle_at(60))
    }),
    (Part::Excuse(Excuse::ConnectServerDown), || {
        with_fault(FaultKind::Crash, idle_at(60))
    }),
    (Part::Excuse(Excuse::ConnectPause), failed_accepts),
    (Part::Excuse(Excuse::ConnectPermit), permit_awaited),
    (Part::Excuse(Excuse::ConnectTimedOut), || {
        let mut scenario = ask("help");
        scenario.network.latency_min_ms = 250;
        scenario
    }),
    (Part::Excuse(Excuse::ReadLinkFault), || faulty(SLOW)),
    (Part::Excuse(Excuse::ReadUnsent), blocked_read),
];

const SLOW: FaultKind = FaultKind::Slow {
    host: 0,
    latency_ms: 500,
};
