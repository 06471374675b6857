//! The oracles of chime.
//!
//! Every conversation is compared with the naive model of the protocol, as its client saw it. If it ends early, the
//! scenario must explain that. The server's end of each connection is replayed: what it writes, and the millisecond and
//! the reason of its close, are exact. Every datagram is accounted for.
//!
//! Each [`Oracle`], [`Reason`] and [`Excuse`] can be switched off, one at a time: tests see that a canary is then no
//! longer caught, or that a run that passes then fails.

mod admission;
mod answers;
mod arrivals;
mod clients;
mod conversations;
mod counters;
mod coverage;
mod datagrams;
mod excuses;
mod fairness;
mod reasons;
mod replay;
mod resets;
mod server;

use std::collections::BTreeMap;

use chime_model::naive::{self, Conversation};
use chime_protocol::Framing;
use strum::VariantArray;

use super::{Behaviour, CoverageGoal, Listener, Scenario};
use crate::trace::{EventKind, Index, Moment, ServerEvent, Trace};
use crate::{Failure, Report, check_with};
use admission::Admissions;
use answers::Answers;
use conversations::Case;
use replay::Replay;

pub use excuses::Excuse;
pub use reasons::Reason;

/// The tolerance of times: what takes no time may still show in the next millisecond.
const SLACK_MS: u32 = 3;

/// How long the server waits, once a deadline has passed, for input that the runtime has not reported yet.
const QUIET_MS: u32 = 10;

/// An oracle: one thing that must hold of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Oracle {
    /// A client reads the model's replies to what it writes, and nothing else.
    Transcript,
    /// A conversation that ends early has a reason.
    EarlyEnd,
    /// The client library returns the replies that arrive.
    Library,
    /// The client library waits neither longer nor shorter than its timeout, and returns the right error.
    ClientWaits,
    /// The server does not accept during the pause after a failed accept.
    AcceptPause,
    /// A client can connect, unless a fault explains why not.
    Connect,
    /// The server closes the connections that it neither serves nor refuses in silence, and in time.
    SilentClose,
    /// The permits, the open conversations and the connections of each address are those of the model at every
    /// millisecond.
    Gauges,
    /// Clients are served soon after the network has healed.
    Recovery,
    /// A datagram is received once, and as it was sent.
    DatagramReceived,
    /// The server sends the model's replies to datagrams, in order and within the millisecond.
    DatagramAnswer,
    /// The server, and the client library while it waits, receive every datagram that no fault explains as lost.
    DatagramArrival,
    /// The server writes the model's replies to what it has read, and nothing else.
    ServerReply,
    /// The server sends its replies without an idle millisecond.
    PromptReply,
    /// The server does not read while a reply is unsent, and holds one buffer of input and one of output.
    Backpressure,
    /// The server closes a connection at once when it has ended, or a deadline has passed.
    LateClose,
    /// The server closes a connection only when it has ended, or a deadline has passed.
    EarlyClose,
    /// The server reads what has arrived without an idle millisecond.
    PromptRead,
    /// No connection is served again and again while another that is ready waits.
    Fairness,
    /// No connection ends in a reset where an orderly close was possible.
    Reset,
    /// A graceful shutdown ends with the last connection, and within the drain timeout.
    Drain,
    /// The counters of a server equal those of the trace.
    Counters,
}

impl Oracle {
    fn check(self, run: &Run<'_>, cases: &[Case<'_>]) -> Result<(), Failure> {
        match self {
            Oracle::Transcript => conversations::check_transcripts(cases),
            Oracle::EarlyEnd => conversations::check_early_ends(cases),
            Oracle::Library => cases.iter().try_for_each(Case::check_library),
            Oracle::ClientWaits => clients::check(run),
            Oracle::AcceptPause => conversations::check_accept_pauses(run),
            Oracle::Connect => conversations::check_connects(run),
            Oracle::SilentClose => admission::check_closed(run),
            Oracle::Gauges => run.admissions.check_gauges(),
            Oracle::Recovery => conversations::check_recovery(run),
            Oracle::DatagramReceived => datagrams::check_received(run),
            Oracle::DatagramAnswer => run.answers.failure.clone().map_or(Ok(()), Err),
            Oracle::DatagramArrival => datagrams::check_arrivals(run),
            Oracle::PromptRead => arrivals::check(run),
            Oracle::Fairness => fairness::check(run),
            Oracle::Reset => resets::check(run),
            Oracle::ServerReply
            | Oracle::PromptReply
            | Oracle::Backpressure
            | Oracle::LateClose
            | Oracle::EarlyClose => replay::check(run, self),
            Oracle::Drain => server::check_drain(run),
            Oracle::Counters => counters::check(run),
        }
    }
}

/// A part of the check that can be switched off, to see that something depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An oracle.
    Oracle(Oracle),
    /// A reason that excuses conversations.
    Reason(Reason),
    /// A cause that excuses datagrams, connects or reads.
    Excuse(Excuse),
}

/// The check of chime, against a model that may be wrong, and without a part.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// The model.
    pub model: naive::Answer,
    /// The part that is switched off.
    pub without: Option<Part>,
}

impl Default for Checker {
    fn default() -> Checker {
        Checker {
            model: naive::answer,
            without: None,
        }
    }
}

impl Checker {
    /// [`check`](crate::check()), as it is set here.
    pub fn check(
        self,
        scenario: &Scenario,
        trace: &Trace,
    ) -> Result<Report<CoverageGoal>, Failure> {
        check_with(scenario, trace, |scenario, index| {
            self.check_index(scenario, index)
        })
    }

    pub(super) fn check_index(
        self,
        scenario: &Scenario,
        whole: &Index<'_>,
    ) -> Result<Report<CoverageGoal>, Failure> {
        let admissions = Admissions::new(scenario, whole);
        let index = &*admissions.conversations(whole);
        let mut run = Run {
            checker: self,
            scenario,
            whole,
            index,
            admissions,
            answers: Answers::new(self.model, scenario, whole),
            replays: BTreeMap::new(),
        };
        let connections = index.connections.iter();
        let replays = connections.map(|(&number, it)| (number, Replay::new(&run, number, it)));
        run.replays = replays.collect();
        let cases = conversations::cases(&run);
        let oracles = Oracle::VARIANTS.iter();
        oracles
            .filter(|oracle| self.without != Some(Part::Oracle(**oracle)))
            .try_for_each(|oracle| oracle.check(&run, &cases))?;
        Ok(Report {
            excused: reasons::excused(&cases),
            ..Report::new(coverage::goals(&run, &cases), cases.len())
        })
    }
}

/// A run to be checked.
struct Run<'a> {
    checker: Checker,
    scenario: &'a Scenario,
    whole: &'a Index<'a>,
    /// The index of the conversations: without PROXY headers and the connections that had none.
    index: &'a Index<'a>,
    admissions: Admissions,
    answers: Answers,
    /// The connections, replayed by the model.
    replays: BTreeMap<usize, Replay>,
}

impl<'a> Run<'a> {
    /// Returns whether a connection is refused: its client gets the full notice in place of the welcome.
    fn is_refused(&self, connection: usize) -> bool {
        self.admissions.outcome(connection) != admission::Outcome::Served
    }

    /// The listener of a connection.
    fn listener(&self, connection: usize) -> &'a Listener {
        let listener = self.index.connections[&connection].listener;
        &self.scenario.server.listeners[usize::from(listener)]
    }

    /// The model of a connection, at its start.
    fn conversation(&self, connection: usize) -> Conversation {
        let model = self.checker.model;
        let listener = self.listener(connection);
        match self.is_refused(connection) {
            false => Conversation::new(model, listener.service, listener.framing),
            true => Conversation::refused(listener.framing),
        }
    }

    /// What a client does, unless it verifies the recovery.
    fn behaviour(&self, client: usize) -> Option<&'a Behaviour> {
        self.scenario
            .clients
            .get(client)
            .map(|client| &client.behaviour)
    }

    /// When an event of the server happened.
    fn server_events(&self, wanted: ServerEvent) -> impl Iterator<Item = Moment> {
        let wanted = EventKind::Server(wanted);
        let events = self.whole.trace.events.iter().enumerate();
        let events = events.filter(move |(_, happened)| happened.kind == wanted);
        events.map(|(event, happened)| Moment {
            event,
            at_ms: happened.at_ms,
        })
    }

    /// When a timer of the server that is started or due now has elapsed.
    fn elapsed_ms(&self, begin_ms: u32, length_ms: u32) -> u32 {
        let index = self.index;
        index.awake_ms(index.awake_ms(begin_ms) + length_ms)
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
