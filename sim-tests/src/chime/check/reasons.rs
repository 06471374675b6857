//! The reasons for which a conversation may end early.

use super::conversations::{Case, Transcript};
use super::server::{partial_line, read_until_ms};
use super::{QUIET_MS, SLACK_MS, clients};
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
    /// The client library timed out before the reply could arrive.
    TimedOut,
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
            self.stream_failed(transcript),
            self.link_failed(transcript),
            self.killed(transcript),
            self.drained(),
            self.slow_reader(),
            self.slow_line(transcript),
            self.gave_up_late(),
            self.stopped(transcript),
            self.idle(transcript),
            self.timed_out(transcript),
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

    fn stream_failed(&self, transcript: &Transcript) -> Option<Reason> {
        let sides = [&self.connection.client_side, &self.connection.server_side];
        let failures = sides.into_iter().filter_map(|side| side.failed);
        let first = failures.filter(|(_, is_injected)| *is_injected).min()?;
        self.is_exchanged(transcript, first.0.at_ms)
            .then_some(Reason::StreamFailed)
    }

    fn timed_out(&self, transcript: &Transcript) -> Option<Reason> {
        let attempt = self.attempt();
        let has_timed_out = clients::has_timed_out(self.run, self.connection.client?, attempt);
        (has_timed_out && self.is_exchanged(transcript, attempt.end.at_ms))
            .then_some(Reason::TimedOut)
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

    fn link_failed(&self, transcript: &Transcript) -> Option<Reason> {
        let is_partition = |span: &&FaultSpan<'_>| {
            matches!(
                span.kind,
                FaultKind::Partition { .. }
                    | FaultKind::PartitionToServer { .. }
                    | FaultKind::PartitionFromServer { .. }
            )
        };
        let first = self.link_faults().find(is_partition)?;
        self.is_exchanged(transcript, first.begin.at_ms)
            .then_some(Reason::Partition)
    }

    fn killed(&self, transcript: &Transcript) -> Option<Reason> {
        let life = &self.run.index.lives[self.connection.life];
        let end_ms = life.end.filter(|_| life.counters.is_none())?.at_ms;
        let is_killed = end_ms <= self.connection.end_ms();
        (is_killed && self.is_exchanged(transcript, end_ms)).then_some(Reason::Killed)
    }

    pub(super) fn drained(&self) -> Option<Reason> {
        let stopping_ms = self.run.index.lives[self.connection.life].stopping?.at_ms;
        let side = &self.connection.server_side;
        // A client that had not closed yet is reset.
        let cut = match self.connection.client_side.is_reset() {
            true => side.dropped,
            false => side.closed(),
        };
        (cut?.at_ms + SLACK_MS >= stopping_ms + self.server().drain_timeout_ms)
            .then_some(Reason::Drain)
    }

    /// The linger timeout ended before a slow reader had read the last replies, or the client timed out during a hold.
    fn gave_up_late(&self) -> Option<Reason> {
        let side = &self.connection.client_side;
        if self.is_slow_reader() && side.is_reset() {
            return Some(Reason::Slow);
        }
        let holds = |span: &FaultSpan<'_>| matches!(span.kind, FaultKind::Hold { .. });
        let is_given_up = side.read_end.is_none() || side.is_reset();
        (is_given_up && self.link_faults().any(holds)).then_some(Reason::Hold)
    }

    /// Whether the client has the replies to all requests that arrived before `by_ms`. A fault of the link excuses those
    /// that were under way when it began, and all later ones.
    fn is_answered(&self, transcript: &Transcript, by_ms: u32) -> bool {
        let travel_ms = self.run.latency_max_ms() + SLACK_MS;
        let first_fault_ms = self.link_faults().map(|span| span.begin.at_ms).min();
        let until_ms = by_ms
            .min(first_fault_ms.map_or(u32::MAX, |begin_ms| begin_ms.saturating_sub(travel_ms)));
        let mut early = transcript.exchanges.iter();
        early
            .all(|exchange| exchange.answered_ms.is_some() || exchange.at_ms + travel_ms > until_ms)
    }

    /// Whether the client has all replies that could arrive before `by_ms`. A slow reader may have none.
    fn is_exchanged(&self, transcript: &Transcript, by_ms: u32) -> bool {
        let sent_ms = by_ms.saturating_sub(self.run.latency_max_ms());
        self.is_slow_reader() || self.is_answered(transcript, sent_ms)
    }

    fn is_slow_reader(&self) -> bool {
        let is_blocked = self.connection.server_side.blocked_ms.is_some();
        is_blocked
            || matches!(
                self.behaviour,
                Some(Behaviour::Write {
                    reading: Reading::Slow { .. },
                    ..
                })
            )
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
