//! Checks a run, whatever the protocol: the oracles are the protocol's.

use std::collections::BTreeSet;

use crate::scenario::Scenario;
use crate::trace::{EventKind, Index, Trace};
use crate::{Failure, Protocol};

/// Checks the trace of a scenario; returns the goals that it reached.
pub fn check<P: Protocol>(
    scenario: &Scenario<P>,
    trace: &Trace,
) -> Result<BTreeSet<P::Goal>, Failure> {
    check_with(scenario, trace, P::check)
}

/// [`check`] with other oracles than those of the protocol.
pub fn check_with<P: Protocol>(
    scenario: &Scenario<P>,
    trace: &Trace,
    oracles: impl Fn(&Scenario<P>, &Index<'_>) -> Result<BTreeSet<P::Goal>, Failure>,
) -> Result<BTreeSet<P::Goal>, Failure> {
    let index = Index::new(scenario, trace);
    if let Some(event) = index.stray {
        return Err(Failure::new(
            "this event belongs to nothing that has begun",
            event,
        ));
    }
    let goals = oracles(scenario, &index)?;
    for (event, happened) in trace.events.iter().enumerate() {
        if let EventKind::Panicked(_) | EventKind::Stuck(_) = happened.kind {
            return Err(Failure::new(happened.kind.to_string(), event));
        }
    }
    Ok(goals)
}
