//! The causes that excuse a datagram that does not arrive, and a connect or a read that fails or is late.

use chrono::Timelike;
use strum::VariantArray;

use super::{Part, Run};
use crate::trace::Moment;

/// The pause of the server after a failed accept or receive, and the maximum jitter of the former.
const PAUSE_MS: u32 = 100;
const ACCEPT_JITTER_MS: u64 = 50;

/// Why a datagram did not arrive, or why the server accepted or read late, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Excuse {
    /// The network lost the datagram.
    DatagramLost,
    /// The receive queue was full when the datagram arrived.
    DatagramOverflow,
    /// A fault struck the link while the datagram was under way.
    DatagramLinkFault,
    /// The server was down, or shutting down, when the datagram arrived.
    DatagramServerDown,
    /// The server had paused after a failed receive when it shut down.
    DatagramPause,
    /// A fault struck the link during the connect.
    ConnectLinkFault,
    /// The server was down, or shutting down, during the connect.
    ConnectServerDown,
    /// The server paused after a failed accept.
    ConnectPause,
    /// A connection before this one waited for a permit.
    ConnectPermit,
    /// The client library timed out before the server could accept.
    ConnectTimedOut,
    /// A fault struck the link while bytes were under way to the server.
    ReadLinkFault,
    /// Replies were unsent.
    ReadUnsent,
}

impl Run<'_> {
    /// Returns whether this excuse applies, and is not switched off.
    pub(super) fn excuses(&self, excuse: Excuse, applies: bool) -> bool {
        applies && self.checker.without != Some(Part::Excuse(excuse))
    }

    /// The pause after a failed accept: it has a jitter, which depends on the wall clock.
    pub(super) fn accept_pause(&self, failed_ms: u32) -> (u32, u32) {
        let nanos = self.index.clock(failed_ms).nanosecond() % 1_000_000_000;
        let jitter_ms = (ACCEPT_JITTER_MS * u64::from(nanos)).div_ceil(1_000_000_000);
        let pause_ms = PAUSE_MS + u32::try_from(jitter_ms).expect("it is short");
        (failed_ms, self.elapsed_ms(failed_ms, pause_ms))
    }

    /// The pause after a failed receive.
    pub(super) fn receive_pause(&self, failed_ms: u32) -> (u32, u32) {
        (failed_ms, self.elapsed_ms(failed_ms, PAUSE_MS))
    }

    /// When the server is ready for what arrives at a time, if it is not during these spans. They begin in order.
    pub(super) fn after_pauses(&self, pauses: &[(u32, u32)], at_ms: u32) -> u32 {
        let awake_ms = self.index.awake_ms(at_ms);
        pauses.iter().fold(awake_ms, |at_ms, (begin_ms, end_ms)| {
            match (begin_ms..end_ms).contains(&&at_ms) {
                true => self.index.awake_ms(*end_ms),
                false => at_ms,
            }
        })
    }

    /// When a server must have handled what was sent and arrived at these times, and was due then; `None` if no server
    /// had to. One that shuts down handles what arrived before, unless it is cut at the drain timeout.
    pub(super) fn handled_ms(&self, (sent_ms, arrived_ms): (u32, u32), due_ms: u32) -> Option<u32> {
        let is_before = |at: Option<Moment>| at.is_none_or(|at| arrived_ms < at.at_ms);
        let mut lives = self.index.lives.iter();
        let life = lives.find(|life| {
            life.started.at_ms < sent_ms && is_before(life.stopping) && is_before(life.end)
        })?;
        let drain_ms = self.scenario.server.drain_timeout_ms;
        match (life.stopping, life.end) {
            (Some(stopping), _) if due_ms < stopping.at_ms => Some(due_ms),
            (Some(stopping), Some(end)) if life.counters.is_some() => {
                (end.at_ms < self.elapsed_ms(stopping.at_ms, drain_ms)).then_some(end.at_ms)
            }
            (None, None) => Some(due_ms),
            (_, end) => end.is_some_and(|end| due_ms < end.at_ms).then_some(due_ms),
        }
    }
}
