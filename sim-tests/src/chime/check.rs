//! The oracles of chime.
//!
//! Every conversation is compared with the naive model of the protocol, as its client saw it. If it ends early, the
//! scenario must explain that. The server must keep its limits, and every datagram is accounted for.

mod clients;
mod conversations;
mod counters;
mod coverage;
mod datagrams;
mod reasons;
mod server;

use std::collections::BTreeSet;

use chime_protocol::Framing;
use chime_protocol::model::naive;

use super::{Behaviour, CoverageGoal, Scenario};
use crate::trace::{Index, Trace};
use crate::{Failure, check_with};

/// The tolerance of times: what takes no time may still show in the next millisecond.
const SLACK_MS: u32 = 3;

/// How long the server waits, once a deadline has passed, for input that the runtime has not reported yet.
const QUIET_MS: u32 = 10;

/// The maximum pause of the server after a failed accept or receive.
const PAUSE_MS: u32 = 150;

/// [`check`](crate::check()) against a model that may be wrong.
pub fn check_against(
    model: naive::Answer,
    scenario: &Scenario,
    trace: &Trace,
) -> Result<BTreeSet<CoverageGoal>, Failure> {
    check_with(scenario, trace, |scenario, index| {
        check(model, scenario, index)
    })
}

pub(super) fn check(
    model: naive::Answer,
    scenario: &Scenario,
    index: &Index<'_>,
) -> Result<BTreeSet<CoverageGoal>, Failure> {
    let run = Run {
        scenario,
        index,
        refused: refused(scenario, index),
    };
    let mut coverage = BTreeSet::new();
    conversations::check(model, &run, &mut coverage)?;
    datagrams::check(model, &run, &mut coverage)?;
    server::check(&run, &mut coverage)?;
    clients::check(&run)?;
    clients::note(&run, &mut coverage);
    Ok(coverage)
}

/// A run to be checked.
struct Run<'a> {
    scenario: &'a Scenario,
    index: &'a Index<'a>,
    /// The connections for which the server was full.
    refused: BTreeSet<usize>,
}

impl<'a> Run<'a> {
    /// What a client does, unless it verifies the recovery.
    fn behaviour(&self, client: usize) -> Option<&'a Behaviour> {
        self.scenario
            .clients
            .get(client)
            .map(|client| &client.behaviour)
    }

    /// The maximum latency of a message on a link without a fault.
    fn latency_max_ms(&self) -> u32 {
        self.scenario.network.latency_max_ms()
    }
}

/// The connections for which the server was full when it accepted them.
fn refused(scenario: &Scenario, index: &Index<'_>) -> BTreeSet<usize> {
    let mut refused = BTreeSet::new();
    // The events at which those that are served are dropped.
    let mut served = BTreeSet::new();
    for (number, connection) in &index.connections {
        served = served.split_off(&connection.accepted.event);
        if served.len() < scenario.server.connections_max {
            served.insert(
                connection
                    .server_side
                    .dropped
                    .map_or(usize::MAX - number, |dropped| dropped.event),
            );
        } else {
            refused.insert(*number);
        }
    }
    refused
}

/// Splits the bytes of a read or write after each line end. With framing `read`, they are one request.
fn parts(framing: Framing, bytes: &[u8]) -> Vec<&[u8]> {
    match framing {
        Framing::Read => vec![bytes],
        Framing::Line => bytes.split_inclusive(|byte| *byte == b'\n').collect(),
    }
}
