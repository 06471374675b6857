//! The boundary: what a protocol supplies to be simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arbitrary::{Arbitrary, Unstructured};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strum::VariantArray;

use crate::exec::{ClientHost, ServerHost};
use crate::scenario::Scenario;
use crate::trace::Index;

/// A protocol to simulate: the data of its scenarios, the code under test, and what must hold of a run.
#[expect(async_fn_in_trait, reason = "the simulation runs on one thread")]
pub trait Protocol: Clone + fmt::Debug + PartialEq + Eq + Send + Sync + 'static {
    /// The settings of the server. Their generator is that of the type.
    type Server: Data + Default + for<'a> Arbitrary<'a>;
    /// What a client does.
    type Behaviour: Data;
    /// What must happen in some runs of a swarm, or the runs prove less than they seem to.
    type Goal: Copy + Ord + fmt::Debug + Send + VariantArray + 'static;

    /// Generates what a client of this server does.
    fn behaviour(
        server: &Self::Server,
        bytes: &mut Unstructured<'_>,
    ) -> arbitrary::Result<Self::Behaviour>;

    /// Runs the server until [`ServerHost::shutdown`] is cancelled, and returns its counters.
    async fn serve(
        server: Self::Server,
        host: ServerHost,
    ) -> std::io::Result<BTreeMap<String, u64>>;

    /// Runs a client.
    async fn run_client(behaviour: Self::Behaviour, server: Self::Server, host: ClientHost);

    /// Uses the server once after the network has healed. Returns whether it was served; if not, it is called again.
    async fn verify_recovery(server: Self::Server, host: &ClientHost) -> bool;

    /// Checks a run; returns the goals that it reached.
    fn check(scenario: &Scenario<Self>, index: &Index<'_>)
    -> Result<BTreeSet<Self::Goal>, Failure>;
}

/// Plain data of a scenario.
pub trait Data:
    Clone + PartialEq + Eq + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static
{
}

impl<T: Clone + PartialEq + Eq + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static>
    Data for T
{
}

/// What is wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was expected, and what happened instead.
    pub message: String,
    /// The event that shows it: an index into [`Trace::events`](crate::trace::Trace::events).
    pub event: usize,
    /// How many bytes of that event are right, if it is about bytes.
    pub right_bytes: Option<usize>,
}

impl Failure {
    /// A failure that this event shows.
    pub fn new(message: impl Into<String>, event: usize) -> Failure {
        Failure {
            message: message.into(),
            event,
            right_bytes: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
