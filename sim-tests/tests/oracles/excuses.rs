//! For each reason that excuses a conversation, a run that passes because of it alone.

use chime_sim_tests::chime::{Behaviour, Reading, Reason, Scenario, Server, Target, Timeout};
use chime_sim_tests::scenario::{FaultKind, Network};

use crate::scenarios::*;

/// Builds a scenario.
type Build = fn() -> Scenario;

pub(crate) const EXCUSES: &[(Reason, Build)] = &[
    (Reason::ClientLeft, || {
        writer(many_days(), Reading::Never, Server::default())
    }),
    (Reason::StreamFailed, || Scenario {
        network: Network {
            stream_error_percent: 100,
            ..Network::default()
        },
        ..idle()
    }),
    (Reason::Partition, || {
        faulty(FaultKind::PartitionFromServer { host: 0 })
    }),
    (Reason::Killed, || with_fault(FaultKind::Crash, idle())),
    (Reason::Drain, cut),
    (Reason::SlowReader, slow_reader),
    (Reason::SlowLine, slow_line),
    (Reason::Hold, || {
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
    (Reason::Stop, stopped),
    (Reason::Idle, idle),
];
