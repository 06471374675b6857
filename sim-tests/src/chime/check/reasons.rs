//! The reasons for which a conversation may end early.
//!
//! A reason needs a cause at a time, and excuses what the cause can have touched: the replies that the server sent so
//! late that they can have been under way then. All earlier ones must have arrived. What the server sent, and when it
//! closed, is not excused at all: the [`replay`](super::replay) says both exactly.

use std::collections::BTreeMap;

use strum::{IntoStaticStr, VariantArray};

use super::conversations::{Case, Transcript};
use super::replay::Outcome;
use super::{Part, SLACK_MS, clients};
use crate::Failure;
use crate::chime::{Behaviour, Ending, Reading};
use crate::scenario::FaultKind;
use crate::trace::{End, FaultSpan, Side};

/// Why a conversation ended before the client had all replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
pub enum Reason {
    /// The client left, or did not read, as the scenario demands.
    ClientLeft,
    /// A failure of the stream was injected.
    StreamFailed,
    /// Messages were lost in a partition.
    Partition,
    /// The server was killed.
    Killed,
    /// The drain timeout.
    Drain,
    /// The client library timed out before the reply could arrive.
    TimedOut,
    /// The write timeout.
    SlowReader,
    /// The line timeout.
    SlowLine,
    /// Messages were held for longer than a timeout.
    Hold,
    /// Graceful shutdown.
    Stop,
    /// The idle timeout.
    Idle,
}

/// Why a conversation ended early.
#[derive(Clone, Copy)]
pub(super) struct Explanation {
    pub(super) reason: Reason,
    /// Whether all replies arrived that the cause cannot have touched, and the cause is the server's or the client's.
    pub(super) is_verified: bool,
}

/// The numbers of conversations that the check accepts on trust, by their reasons.
///
/// A conversation is excused if its client lacks replies, and which of them is not verified: a message was under way when
/// a fault of the link began, or the client reads so slowly that the time at which it reads a reply is unknown.
pub(super) fn excused(cases: &[Case<'_>]) -> BTreeMap<&'static str, u64> {
    let mut excused = BTreeMap::new();
    for case in cases {
        let explained = case.transcript.as_ref().ok().map(|it| case.explain(it));
        if let Some(Ok(Some(explanation))) = explained
            && !explanation.is_verified
        {
            *excused.entry(explanation.reason.into()).or_default() += 1;
        }
    }
    excused
}

impl<'a> Case<'a> {
    /// Returns why the conversation ended early, if it did. Fails if there is no reason.
    pub(super) fn explain(&self, transcript: &Transcript) -> Result<Option<Explanation>, Failure> {
        let side = &self.connection.client_side;
        let is_cut = match self.behaviour {
            // It reads to EOF.
            Some(Behaviour::Write { .. }) => side.read_end.is_none() || !transcript.is_closed,
            // The library returns an error on an early EOF.
            _ => self.attempt().failed.is_some() && !transcript.is_refused,
        };
        if !is_cut && transcript.is_complete() {
            return Ok(None);
        }
        let [client, server] = [&self.connection.client_side, &self.connection.server_side];
        // A client that asks reads only while it waits for a reply, and may find EOF later.
        let lost_ms = match self.behaviour {
            Some(Behaviour::Ask { .. }) => first_lost_byte_ms(server, client),
            _ => first_lost_ms(server, client),
        };
        let without = self.run.checker.without;
        let is_by_link = self.is_by_link();
        let explanation = Reason::VARIANTS.iter().find_map(|&reason| {
            let cause_ms = self.cause_ms(reason)?;
            // What the server sent earlier has arrived before the cause.
            let is_bounded = lost_ms.is_none_or(|lost_ms| lost_ms + self.travel_ms() >= cause_ms);
            let is_wanted = without != Some(Part::Reason(reason));
            (is_wanted && (is_bounded || self.is_slow_reader())).then_some(Explanation {
                reason,
                is_verified: is_bounded && !is_by_link,
            })
        });
        if explanation.is_some() {
            return Ok(explanation);
        }
        let missing = transcript
            .exchanges
            .iter()
            .filter(|exchange| exchange.answered_ms.is_none());
        let message = format!(
            "connection {}: the conversation ended early, {} replies are missing, and no fault explains it",
            self.number,
            missing.count()
        );
        Err(Failure::new(message, self.last_event()))
    }

    /// When a reason struck this conversation, if it did.
    fn cause_ms(&self, reason: Reason) -> Option<u32> {
        let [client, server] = [&self.connection.client_side, &self.connection.server_side];
        let replay = &self.run.replays[&self.number];
        let closed_by = |outcome| match replay.is(outcome) {
            true => server.dropped.map(|dropped| dropped.at_ms),
            false => None,
        };
        match reason {
            Reason::ClientLeft => self.left_ms(),
            Reason::StreamFailed => {
                let failures = [client, server].map(|side| side.failed);
                let injected = failures.into_iter().flatten().filter(|it| it.1);
                injected.map(|(at, _)| at.at_ms).min()
            }
            Reason::Partition => self
                .link_faults()
                .find(|span| is_partition(span.kind))
                .map(|span| span.begin.at_ms),
            Reason::Killed => closed_by(Outcome::Killed),
            Reason::Drain => closed_by(Outcome::Cut),
            Reason::SlowReader => closed_by(Outcome::SlowReader),
            Reason::SlowLine => closed_by(Outcome::SlowLine),
            Reason::Idle => closed_by(Outcome::Idle),
            Reason::TimedOut => {
                let attempt = self.attempt();
                clients::has_timed_out(self.run, self.connection.client?, attempt)
                    .then_some(attempt.end.at_ms)
            }
            Reason::Hold => {
                let is_given_up = client.read_end.is_none() || client.is_reset();
                let mut holds = self.link_faults().filter(|span| is_hold(span.kind));
                holds
                    .next()
                    .filter(|_| is_given_up)
                    .map(|span| span.begin.at_ms)
            }
            Reason::Stop => {
                let stopping_ms = self.run.index.lives[self.connection.life].stopping?.at_ms;
                let closed_ms = server.shut?.at_ms;
                (replay.is(Outcome::Ended) && stopping_ms <= closed_ms).then_some(closed_ms)
            }
        }
    }

    /// When the client stopped to read, as the scenario demands.
    fn left_ms(&self) -> Option<u32> {
        match self.behaviour {
            Some(Behaviour::Write {
                reading: Reading::Never,
                ..
            }) => Some(0),
            Some(Behaviour::Write {
                ending: Ending::Leave,
                ..
            }) => self.connection.client_side.dropped.map(|at| at.at_ms),
            Some(Behaviour::Write {
                ending: Ending::Forget,
                ..
            }) => Some(self.attempt().end.at_ms),
            _ => None,
        }
    }

    /// The faults that struck the link of this connection while it was open.
    pub(super) fn link_faults(&self) -> impl Iterator<Item = &FaultSpan<'a>> {
        let latency_ms = self.run.latency_max_ms();
        let begin_ms = self.connection.accepted.at_ms.saturating_sub(latency_ms);
        let end_ms = self.connection.end_ms();
        self.run.index.faults.iter().filter(move |span| {
            span.kind.host() == Some(self.client.host) && span.overlaps(begin_ms, end_ms)
        })
    }

    /// The maximum time that a message of this connection takes, unless a partition or a hold strikes.
    fn travel_ms(&self) -> u32 {
        let slow_ms = self.link_faults().filter_map(|span| match span.kind {
            FaultKind::Slow { latency_ms, .. } => Some(*latency_ms),
            _ => None,
        });
        let latency_ms = slow_ms.max().unwrap_or(0).max(self.run.latency_max_ms());
        latency_ms + SLACK_MS
    }

    /// Returns whether a fault of the link may have swallowed what an end lacks, or not: it was under way when the fault
    /// began. What was sent during a partition is lost for certain, and all that follows.
    fn is_by_link(&self) -> bool {
        let [client, server] = [&self.connection.client_side, &self.connection.server_side];
        let travel_ms = self.travel_ms();
        let lost = [(client, server, End::Server), (server, client, End::Client)];
        lost.into_iter().any(|(from, to, end)| {
            let Some(sent_ms) = first_lost_ms(from, to) else {
                return false;
            };
            // Nobody reads what is sent to an end that has gone.
            let dropped_ms = to.dropped.map(|dropped| dropped.at_ms);
            let left_ms = self.left_ms().filter(|_| end == End::Client);
            if [dropped_ms, left_ms]
                .into_iter()
                .flatten()
                .any(|gone_ms| gone_ms <= sent_ms)
            {
                return false;
            }
            let faults = || self.link_faults().filter(|span| strikes(span.kind, end));
            faults().any(|span| span.overlaps(sent_ms, sent_ms + travel_ms))
                && !faults().any(|span| {
                    let has_ended = span.end.is_some_and(|end| end.at_ms <= sent_ms);
                    is_partition(span.kind) && span.begin.at_ms <= sent_ms && !has_ended
                })
        })
    }

    fn is_slow_reader(&self) -> bool {
        matches!(
            self.behaviour,
            Some(Behaviour::Write {
                reading: Reading::Slow { .. },
                ..
            })
        )
    }
}

/// When one end sent the first byte that the other has not read.
fn first_lost_byte_ms(from: &Side<'_>, to: &Side<'_>) -> Option<u32> {
    let mut read: usize = to.read.iter().map(|piece| piece.bytes.len()).sum();
    let lost = from
        .wrote
        .iter()
        .find(|piece| match read.checked_sub(piece.bytes.len()) {
            Some(rest) => {
                read = rest;
                false
            }
            None => true,
        });
    lost.map(|piece| piece.at.at_ms)
}

/// When one end sent the first byte, or EOF, that the other has not read.
fn first_lost_ms(from: &Side<'_>, to: &Side<'_>) -> Option<u32> {
    let end = from.closed().filter(|_| to.read_end.is_none());
    first_lost_byte_ms(from, to).or(end.map(|at| at.at_ms))
}

/// Whether a fault of a link strikes what is sent to this end.
fn strikes(kind: &FaultKind, end: End) -> bool {
    match kind {
        FaultKind::PartitionToServer { .. } => end == End::Server,
        FaultKind::PartitionFromServer { .. } => end == End::Client,
        _ => true,
    }
}

fn is_partition(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Partition { .. }
            | FaultKind::PartitionToServer { .. }
            | FaultKind::PartitionFromServer { .. }
    )
}

fn is_hold(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::Hold { .. })
}
