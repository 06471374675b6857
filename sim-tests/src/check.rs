//! Checks a run, whatever the protocol: the oracles are the protocol's.

use crate::scenario::Scenario;
use crate::trace::{EventKind, Index, Trace};
use crate::{Failure, Protocol, Report};

/// Checks the trace of a scenario.
pub fn check<P: Protocol>(
    scenario: &Scenario<P>,
    trace: &Trace,
) -> Result<Report<P::Goal>, Failure> {
    check_with(scenario, trace, P::check)
}

/// Checks that the trace shows what the scenario expects, in order.
fn check_expectations<P: Protocol>(scenario: &Scenario<P>, trace: &Trace) -> Result<(), Failure> {
    let mut last = None;
    for text in &scenario.expect {
        let start = last.map_or(0, |last| last + 1);
        let mut rest = trace.events.iter().skip(start);
        match rest.position(|event| event.to_string().contains(text)) {
            Some(position) => last = Some(start + position),
            None => {
                let after = match last {
                    Some(last) => format!(" after '{}'", trace.events[last].kind),
                    None => String::new(),
                };
                let message = format!("expected{after}, but not there: {text}");
                return Err(Failure::new(message, last.unwrap_or(0)));
            }
        }
    }
    Ok(())
}

/// [`check`] with other oracles than those of the protocol.
pub fn check_with<P: Protocol>(
    scenario: &Scenario<P>,
    trace: &Trace,
    oracles: impl Fn(&Scenario<P>, &Index<'_>) -> Result<Report<P::Goal>, Failure>,
) -> Result<Report<P::Goal>, Failure> {
    let index = Index::new(scenario, trace);
    if let Some(event) = index.stray {
        return Err(Failure::new(
            "this event belongs to nothing that has begun",
            event,
        ));
    }
    let find = |is_wanted: fn(&EventKind) -> bool| {
        let event = trace.events.iter().position(|event| is_wanted(&event.kind));
        event.map(|event| Failure::new(trace.events[event].kind.to_string(), event))
    };
    if let Some(failure) = find(|kind| matches!(kind, EventKind::Panicked(_))) {
        return Err(failure);
    }
    let report = oracles(scenario, &index)?;
    check_expectations(scenario, trace)?;
    // The oracles know better why a run is stuck.
    match find(|kind| matches!(kind, EventKind::Stuck(_))) {
        Some(failure) => Err(failure),
        None => Ok(report),
    }
}
