//! The oracles of chime.
//!
//! Every conversation is compared with the naive model of the protocol, as its client saw it. If it ends early, the
//! scenario must explain that. The server must keep its limits, and every datagram is accounted for.

mod admission;
mod clients;
mod conversations;
mod counters;
mod coverage;
mod datagrams;
mod reasons;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use chime_protocol::Framing;
use chime_protocol::model::naive;

use super::{Behaviour, CoverageGoal, Listener, Scenario};
use crate::trace::{Connection, Index, Trace};
use crate::{Failure, check_with};
use admission::{Admission, Outcome};

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
    let admissions = admission::admit(scenario, index)?;
    admission::check_closed(scenario, index, &admissions)?;
    let mut coverage = BTreeSet::new();
    admission::note(scenario, index, &admissions, &mut coverage);
    let index = admission::conversations(index, &admissions);
    let run = Run {
        scenario,
        index: &index,
        admissions,
    };
    conversations::check(model, &run, &mut coverage)?;
    let counts = datagrams::check(model, &run, &mut coverage)?;
    server::check(&run, &counts, &mut coverage)?;
    clients::check(&run)?;
    clients::note(&run, &mut coverage);
    Ok(coverage)
}

/// A run to be checked.
struct Run<'a> {
    scenario: &'a Scenario,
    /// The index of its conversations: without PROXY headers and the connections that had none.
    index: &'a Index<'a>,
    admissions: BTreeMap<usize, Admission>,
}

impl<'a> Run<'a> {
    /// What a client does, unless it verifies the recovery.
    fn behaviour(&self, client: usize) -> Option<&'a Behaviour> {
        self.scenario
            .clients
            .get(client)
            .map(|client| &client.behaviour)
    }

    /// Whether a connection is refused: its client reads the full notice in place of the welcome.
    fn is_refused(&self, connection: usize) -> bool {
        self.admissions[&connection].outcome != Outcome::Served
    }

    /// The listener of a connection.
    fn listener(&self, connection: &Connection<'_>) -> &'a Listener {
        &self.scenario.server.listeners[usize::from(connection.listener)]
    }

    /// The maximum latency of a message on a link without a fault.
    fn latency_max_ms(&self) -> u32 {
        self.scenario.network.latency_max_ms()
    }
}

/// Splits the bytes of a read or write after each line end. With framing `read`, they are one request.
fn parts(framing: Framing, bytes: &[u8]) -> Vec<&[u8]> {
    match framing {
        Framing::Read => vec![bytes],
        Framing::Line => bytes.split_inclusive(|byte| *byte == b'\n').collect(),
    }
}
