//! The reasons for which a conversation may end early.

use super::conversations::{Case, Transcript};
use super::server::{partial_line, read_until_ms};
use super::{QUIET_MS, SLACK_MS};
use crate::Failure;
use crate::chime::{Behaviour, Ending, Reading, Server};
use crate::scenario::FaultKind;
use crate::trace::FaultSpan;

/// Why a conversation ended before the client had all replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client left, or did not read, as the scenario demands.
    ClientLeft,
    /// A failure of the stream was injected.
    StreamFailed,
    /// Messages were lost in a partition.
    Partition,
    /// Messages were held for longer than a timeout.
    Hold,
    /// The server was killed.
    Killed,
    /// The idle timeout.
    Idle,
    /// The line timeout.
    SlowLine,
    /// The write timeout.
    SlowReader,
    /// Graceful shutdown.
    Stop,
    /// The drain timeout.
    Drain,
    /// The client read the last replies after the linger timeout of the server.
    Slow,
}

impl<'a> Case<'a> {
    /// Returns why the conversation ended early, if it did. Fails if there is no reason.
    pub(super) fn explain(&self, transcript: &Transcript) -> Result<Option<Reason>, Failure> {
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
        let reasons = [
            self.client_left(),
            self.stream_failed(),
            self.link_failed(),
            self.killed(),
            self.drained(),
            self.slow_reader(),
            self.slow_line(transcript),
            self.gave_up_late(),
            self.stopped(transcript),
            self.idle(transcript),
        ];
        let reason = reasons.into_iter().flatten().next();
        if reason.is_none() {
            let missing = transcript
                .exchanges
                .iter()
                .filter(|exchange| exchange.answered_ms.is_none());
            let message = format!(
                "connection {}: the conversation ended early, {} replies are missing, and no fault explains it",
                self.number,
                missing.count()
            );
            return Err(Failure::new(message, self.last_event()));
        }
        Ok(reason)
    }

    fn client_left(&self) -> Option<Reason> {
        let is_meant = matches!(
            self.behaviour,
            Some(Behaviour::Write {
                ending: Ending::Leave | Ending::Forget,
                ..
            }) | Some(Behaviour::Write {
                reading: Reading::Never,
                ..
            })
        );
        is_meant.then_some(Reason::ClientLeft)
    }

    fn stream_failed(&self) -> Option<Reason> {
        let sides = [&self.connection.client_side, &self.connection.server_side];
        let is_injected = sides.iter().any(|side| side.failed == Some(true));
        is_injected.then_some(Reason::StreamFailed)
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

    fn link_failed(&self) -> Option<Reason> {
        self.link_faults().find_map(|span| match span.kind {
            FaultKind::Partition { .. }
            | FaultKind::PartitionToServer { .. }
            | FaultKind::PartitionFromServer { .. } => Some(Reason::Partition),
            FaultKind::Hold { .. } | FaultKind::Slow { .. } => None,
            FaultKind::Crash | FaultKind::Stop | FaultKind::ClockStep { .. } => None,
        })
    }

    fn is_delayed(&self) -> bool {
        self.link_faults().next().is_some()
    }

    fn killed(&self) -> Option<Reason> {
        let life = &self.run.index.lives[self.connection.life];
        let is_killed = life.counters.is_none();
        (is_killed && life.end?.at_ms <= self.connection.end_ms()).then_some(Reason::Killed)
    }

    pub(super) fn drained(&self) -> Option<Reason> {
        let stopping_ms = self.run.index.lives[self.connection.life].stopping?.at_ms;
        let drain_ms = self.server().drain_timeout_ms;
        (self.connection.server_side.closed()?.at_ms + SLACK_MS >= stopping_ms + drain_ms)
            .then_some(Reason::Drain)
    }

    /// The linger timeout ended before a slow reader had read the last replies, or the client timed out during a hold.
    fn gave_up_late(&self) -> Option<Reason> {
        let is_slow = matches!(
            self.behaviour,
            Some(Behaviour::Write {
                reading: Reading::Slow { .. },
                ..
            })
        );
        let side = &self.connection.client_side;
        if is_slow && side.is_reset() {
            return Some(Reason::Slow);
        }
        let holds = |span: &FaultSpan<'_>| matches!(span.kind, FaultKind::Hold { .. });
        let is_given_up = side.read_end.is_none() || side.is_reset();
        (is_given_up && self.link_faults().any(holds)).then_some(Reason::Hold)
    }

    /// Whether the client has the replies to all requests that arrived before `by_ms`.
    fn is_answered(&self, transcript: &Transcript, by_ms: u32) -> bool {
        let travel_ms = self.run.latency_max_ms() + SLACK_MS;
        let is_delayed = self.is_delayed();
        transcript.exchanges.iter().all(|exchange| {
            exchange.answered_ms.is_some() || is_delayed || exchange.at_ms + travel_ms > by_ms
        })
    }

    fn stopped(&self, transcript: &Transcript) -> Option<Reason> {
        let stopping_ms = self.run.index.lives[self.connection.life].stopping?.at_ms;
        let closed_ms = self.connection.server_side.closed()?.at_ms;
        let is_after = stopping_ms <= closed_ms;
        (is_after && self.is_answered(transcript, stopping_ms.min(closed_ms)))
            .then_some(Reason::Stop)
    }

    /// The last line was too slow, and all requests before it were answered.
    fn slow_line(&self, transcript: &Transcript) -> Option<Reason> {
        let dropped_ms = self.connection.server_side.dropped?.at_ms;
        let (began_ms, _) = partial_line(&self.connection.server_side)?;
        let is_slow = dropped_ms + SLACK_MS >= began_ms + self.server().line_timeout_ms + QUIET_MS;
        (is_slow && self.is_answered(transcript, dropped_ms)).then_some(Reason::SlowLine)
    }

    fn slow_reader(&self) -> Option<Reason> {
        let side = &self.connection.server_side;
        let dropped_ms = side.dropped?.at_ms;
        let last_ms = side.last_moved_ms()?.max(read_until_ms(side));
        let is_slow = dropped_ms + SLACK_MS >= last_ms + self.server().write_timeout_ms + QUIET_MS;
        (is_slow && side.blocked_ms.is_some()).then_some(Reason::SlowReader)
    }

    fn server(&self) -> &Server {
        &self.run.scenario.server
    }

    fn idle(&self, transcript: &Transcript) -> Option<Reason> {
        let side = &self.connection.server_side;
        let dropped_ms = side.dropped?.at_ms;
        let last_ms = side
            .last_moved_ms()
            .unwrap_or(self.connection.accepted.at_ms);
        let is_idle = dropped_ms + SLACK_MS >= last_ms + self.server().idle_timeout_ms + QUIET_MS;
        (is_idle && self.is_answered(transcript, dropped_ms)).then_some(Reason::Idle)
    }
}
