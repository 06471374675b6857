//! What must hold of a trace.
//!
//! Every conversation is compared with the naive model of the protocol, as its client saw it. Under faults
//! it may end early, but then the scenario must explain why. The server is held to its limits, and
//! every datagram is accounted for.

mod conversations;
mod datagrams;
mod history;
mod reasons;
mod server;
mod sightings;

use std::collections::BTreeSet;
use std::fmt;

use chime_protocol::model::naive;

use crate::scenario::Scenario;
use crate::situation::Situation;
use crate::trace::{Trace, What};

use history::History;

/// How far times may be off: what takes no time may still show in the next millisecond.
const SLACK_MS: u32 = 3;

/// How long the server waits, once a deadline has passed, for input that it has not been told of yet.
const QUIET_MS: u32 = 10;

/// What is wrong in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What, in words.
    pub what: String,
    /// The event by which it shows: an index into [`Trace::events`](crate::trace::Trace::events).
    pub event: usize,
    /// How many bytes of that event are right, if it is about bytes.
    pub right_bytes: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Checks the trace of a scenario; returns what was seen in it.
pub fn check(scenario: &Scenario, trace: &Trace) -> Result<BTreeSet<Situation>, Failure> {
    check_against(naive::answer, scenario, trace)
}

/// [`check`] against a model that may be wrong.
pub fn check_against(
    model: naive::Answer,
    scenario: &Scenario,
    trace: &Trace,
) -> Result<BTreeSet<Situation>, Failure> {
    let history = History::new(scenario, trace);
    let mut reached = BTreeSet::new();
    conversations::check(model, &history, &mut reached)?;
    datagrams::check(model, &history, &mut reached)?;
    server::check(&history, &mut reached)?;
    for (event, happened) in trace.events.iter().enumerate() {
        if let What::Panicked(_) | What::Stuck(_) = happened.what {
            return Err(failure(happened.what.to_string(), event));
        }
    }
    Ok(reached)
}

fn failure(what: String, event: usize) -> Failure {
    Failure {
        what,
        event,
        right_bytes: None,
    }
}
