//! The causes that excuse a datagram that does not arrive, and a connect or a read that fails or is late.

use strum::VariantArray;

use super::{Part, Run};

/// The maximum pause of the server after a failed accept or receive.
const PAUSE_MS: u32 = 150;

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
}

/// Returns when the server does what is due at a time, at the latest, if it pauses in these spans. They begin in order.
pub(super) fn after_pauses(pauses: &[(u32, u32)], at_ms: u32) -> u32 {
    pauses.iter().fold(at_ms, |at_ms, (begin_ms, end_ms)| {
        match (begin_ms..end_ms).contains(&&at_ms) {
            true => *end_ms,
            false => at_ms,
        }
    })
}

/// The longest pause of the server after an accept or a receive that failed at this time.
pub(super) fn pause(failed_ms: u32) -> (u32, u32) {
    (failed_ms, failed_ms + PAUSE_MS)
}
