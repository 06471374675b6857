//! What must hold of a trace.
//!
//! Every conversation is compared with the naive model of the protocol, as its client saw it. Under faults
//! it may end early, but then the scenario must explain why. The server is held to its limits, and
//! every datagram is accounted for.

mod conversations;
mod coverage;
mod datagrams;
mod reasons;
mod server;

use std::collections::BTreeSet;
use std::fmt;

use chime_protocol::model::naive;

use crate::coverage::CoverageGoal;
use crate::scenario::Scenario;
use crate::trace::index::Index;
use crate::trace::{EventKind, Trace};

/// How far times may be off: what takes no time may still show in the next millisecond.
const SLACK_MS: u32 = 3;

/// How long the server waits, once a deadline has passed, for input that it has not been told of yet.
const QUIET_MS: u32 = 10;

/// What is wrong in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// EventKind, in words.
    pub message: String,
    /// The event by which it shows: an index into [`Trace::events`](crate::trace::Trace::events).
    pub event: usize,
    /// How many bytes of that event are right, if it is about bytes.
    pub right_bytes: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Checks the trace of a scenario; returns what was seen in it.
pub fn check(scenario: &Scenario, trace: &Trace) -> Result<BTreeSet<CoverageGoal>, Failure> {
    check_against(naive::answer, scenario, trace)
}

/// [`check`] against a model that may be wrong.
pub fn check_against(
    model: naive::Answer,
    scenario: &Scenario,
    trace: &Trace,
) -> Result<BTreeSet<CoverageGoal>, Failure> {
    let index = Index::new(scenario, trace);
    if let Some(event) = index.stray {
        return Err(failure(
            "this belongs to nothing that has begun".into(),
            event,
        ));
    }
    let mut coverage = BTreeSet::new();
    conversations::check(model, &index, &mut coverage)?;
    datagrams::check(model, &index, &mut coverage)?;
    server::check(&index, &mut coverage)?;
    for (event, happened) in trace.events.iter().enumerate() {
        if let EventKind::Panicked(_) | EventKind::Stuck(_) = happened.kind {
            return Err(failure(happened.kind.to_string(), event));
        }
    }
    Ok(coverage)
}

fn failure(message: String, event: usize) -> Failure {
    Failure {
        message,
        event,
        right_bytes: None,
    }
}
