//! Simulate your own protocol.
//!
//! The simulator knows nothing of chime: [`scenario`](crate::scenario), [`exec`](crate::exec), [`trace`](crate::trace),
//! the pages of [`draw`](crate::draw) and the command line of [`command`](crate::command) work for every type that
//! implements [`Protocol`]. [`chime`](crate::chime) is one; `sim-tests/examples/echo.rs` is another, of 210 lines and
//! its tests. To write a third:
//!
//! 1. **Make the code generic over its sockets.** The conversation takes any `AsyncRead + AsyncWrite`, its clock and its
//!    limits as arguments. The accept loop is in [`Protocol::serve`], or generic over a trait of yours, as that of
//!    `chime_server` is; only what the real server shares with the simulated one is tested. It runs on one thread, and
//!    uses tokio's timers. Each `select!` is `biased;`, and nothing iterates over a hash map: otherwise two runs of a
//!    scenario differ.
//! 2. **Write the data.** [`Protocol::Server`] has the settings of the server, [`Protocol::Behaviour`] what a client
//!    does. Derive `Serialize` and `Deserialize` for both. Derive `Arbitrary` for the settings and give each field its
//!    generator, for example `#[arbitrary(with = range(200..=2_000))]`, from
//!    [`scenario`](crate::scenario#functions). Give the settings `#[serde(default)]`, because JSON leaves out what has its
//!    default, and implement `Default` with values that work. [`Protocol::behaviour`] generates the behaviours. A new
//!    setting needs nothing else: it is generated, kept in JSON, shrunk and shown. A new field of a behaviour also needs
//!    `#[serde(default)]`, if older files are to be read.
//!    A generated scenario has up to seven clients on one or two hosts. They start, and faults begin, in its first 100 to
//!    700 ms; then the network heals. In a quarter of them all clients do the same at the same time, and a few have 2,000
//!    such clients ([`Protocol::prepare_for_crowd`]).
//! 3. **Run the server and the clients.** [`Protocol::serve`] gets its sockets and the shutdown token from a
//!    [`ServerHost`]; [`Protocol::run_client`] connects with a [`ClientHost`]. Both have to time out: a connection
//!    through a partition stays silent for ever. The window of a connection can be a few bytes, so a client reads while
//!    it writes. Dropping a stream with unread input, or before the other end has closed, resets the connection, and what
//!    the other end has not read is lost: half-close, read to EOF, then drop.
//! 4. **Write the oracles.** [`Protocol::check`] gets the scenario and the [`Index`] of the trace: each connection with
//!    its reads and writes, each datagram, each client, each fault. Compare with a naive model. Begin with safety (what
//!    a client reads is a prefix of what the model sends), then demand that the scenario explains every early end: an
//!    injected failure of the stream ([`Side::failed`](crate::trace::Side)), a fault of its link while it lasted
//!    ([`Index::has_link_fault`]), a server that was killed, a timeout of yours. If conversations share state, take the
//!    order of their requests from the events ([`Moment::event`](crate::trace::Moment)), which are in order over all
//!    connections. Report the conversations that a reason excuses from the check: a swarm shows their share. The model
//!    must also agree on what only the shrinker makes, such as empty texts. A check must not panic: subtract times with
//!    `saturating_sub`.
//! 5. **Name the coverage goals.** A swarm of 20,000 seeds or more, which takes some minutes, fails if no seed reaches
//!    one of them.
//! 6. **Let it fail.** Plant a bug as a setting with `#[arbitrary(default)]`, which no swarm sets, and find it in a test
//!    that does, as the example does.
//!
//! `fn main() -> ExitCode { command::main::<MyProtocol>("my-sim") }` is the whole program: `my-sim swarm --seeds 1000`
//! runs a swarm, shrinks and draws what fails, and prints the command that replays it.
//!
//! The network decides with the percentages of [`Network`](crate::scenario::Network) what it cuts, glues, delays,
//! loses, duplicates and corrupts. Its sockets charge tokio's cooperative budget as real ones do. Each run is a pure
//! function of its scenario, so a failure replays byte for byte.

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

    /// Adapts the settings of a server to thousands of clients that do the same. Returns whether such clients are of use.
    fn prepare_for_crowd(_: &mut Self::Server, _: &Self::Behaviour) -> bool {
        true
    }

    /// Runs the server until [`ServerHost::shutdown`] is cancelled and its conversations have ended, and returns its
    /// counters. Called again after each crash and each stop. It runs in a `LocalSet`; tasks that are left when it returns
    /// are dropped. An error fails the run, as a panic does.
    async fn serve(
        server: Self::Server,
        host: ServerHost,
    ) -> std::io::Result<BTreeMap<String, u64>>;

    /// Runs a client. The simulator records that it connects and is done; record what else the oracles need.
    async fn run_client(behaviour: Self::Behaviour, server: Self::Server, host: ClientHost);

    /// Uses the server once after the network has healed. Returns whether it was served; if not, it is called again 50 ms
    /// later. It must succeed with every value of the settings: a run in which it does not is stuck after 600 s of
    /// simulated time, which take seconds. How soon it succeeds is for an oracle to judge.
    async fn verify_recovery(server: Self::Server, host: &ClientHost) -> bool;

    /// Checks a run. It must not panic: that would end a swarm.
    fn check(scenario: &Scenario<Self>, index: &Index<'_>) -> Result<Report<Self::Goal>, Failure>;
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

/// What a check says of a run that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<G> {
    /// The coverage goals that the run reached.
    pub goals: BTreeSet<G>,
    /// The number of conversations.
    pub conversations: u64,
    /// The number of conversations that the check accepted on trust, by their excuse. The fewer, the stricter it is.
    pub excused: BTreeMap<&'static str, u64>,
}

impl<G> Report<G> {
    /// A report of a check that excuses nothing.
    pub fn new(goals: BTreeSet<G>, conversations: usize) -> Report<G> {
        Report {
            goals,
            conversations: conversations as u64,
            excused: BTreeMap::new(),
        }
    }
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
