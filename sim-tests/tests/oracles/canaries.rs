//! The canaries: traces that are wrong in one way, just beyond what an oracle tolerates.

mod admission;
mod clients;
mod conversations;
mod datagrams;
mod server;

use chime_sim_tests::chime::Scenario;
use chime_sim_tests::trace::Trace;

/// A trace that a check must catch.
pub(crate) struct Canary {
    /// What is wrong.
    pub(crate) name: &'static str,
    /// The scenario. Its own trace passes.
    pub(crate) scenario: fn() -> Scenario,
    /// Makes the trace wrong, or the scenario by which it is checked: then the trace is that of a server which does not
    /// keep its settings.
    pub(crate) change: fn(&mut Scenario, &mut Trace),
    /// A part of the message of the failure.
    pub(crate) message: &'static str,
}

/// Returns all canaries.
pub(crate) fn all() -> impl Iterator<Item = &'static Canary> {
    [
        admission::CANARIES,
        clients::CANARIES,
        conversations::CANARIES,
        datagrams::CANARIES,
        server::CANARIES,
    ]
    .into_iter()
    .flatten()
}
