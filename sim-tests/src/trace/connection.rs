//! The events of a connection.

use super::End;
use super::index::Moment;

/// A connection.
pub(crate) struct Connection<'a> {
    pub(crate) accepted: Moment,
    /// The client that has it, and since when.
    pub(crate) client: Option<usize>,
    pub(crate) connected: Option<Moment>,
    /// The life of the server that it belongs to.
    pub(crate) life: usize,
    /// Whether the server was full when it accepted this connection.
    pub(crate) is_refused: bool,
    pub(crate) client_side: Side<'a>,
    pub(crate) server_side: Side<'a>,
}

impl<'a> Connection<'a> {
    pub(crate) fn side(&self, end: End) -> &Side<'a> {
        match end {
            End::Client => &self.client_side,
            End::Server => &self.server_side,
        }
    }

    /// When both ends have been dropped.
    pub(crate) fn end_ms(&self) -> u32 {
        let end_ms = |side: &Side<'_>| side.dropped.map_or(u32::MAX, |dropped| dropped.at_ms);
        end_ms(&self.client_side).max(end_ms(&self.server_side))
    }
}

/// One end of a connection.
#[derive(Default)]
pub(crate) struct Side<'a> {
    pub(crate) wrote: Vec<Piece<'a>>,
    pub(crate) read: Vec<Piece<'a>>,
    pub(crate) shut: Option<Moment>,
    pub(crate) read_end: Option<Moment>,
    pub(crate) blocked_ms: Option<u32>,
    /// Whether a read or write failed, and whether the first failure was injected.
    pub(crate) failed: Option<bool>,
    pub(crate) dropped: Option<Moment>,
}

/// The bytes of one read or write.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) at: Moment,
    pub(crate) bytes: &'a [u8],
    pub(crate) is_short: bool,
}

impl Side<'_> {
    pub(crate) fn bytes_read(&self) -> Vec<u8> {
        let bytes = self.read.iter().flat_map(|piece| piece.bytes);
        bytes.copied().collect()
    }

    /// When this end was closed for writing.
    pub(crate) fn closed(&self) -> Option<Moment> {
        self.shut.or(self.dropped)
    }

    /// Whether a read or write failed by itself.
    pub(crate) fn is_reset(&self) -> bool {
        self.failed == Some(false)
    }

    /// When the last line that has not ended began to be read, and the bytes that were read since, with
    /// those of its first piece that are not its own.
    pub(crate) fn partial_line(&self) -> Option<(u32, usize)> {
        let is_end = |piece: &Piece<'_>| piece.bytes.contains(&b'\n');
        let first = self.read.iter().rposition(is_end).unwrap_or(0);
        let pieces = &self.read[first..];
        let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        let is_partial = pieces.last()?.bytes.last() != Some(&b'\n');
        let first = match pieces {
            [ended, next, ..] if ended.bytes.ends_with(b"\n") => next,
            [first, ..] => first,
            [] => return None,
        };
        is_partial.then_some((first.at.at_ms, bytes))
    }

    /// When a client at the minimum rate, 2,000 bytes a second, has read what was written here: its
    /// kernel holds at most 66 s of that.
    pub(crate) fn read_until_ms(&self) -> u32 {
        let until_us = self.wrote.iter().fold(0, |until_us: u64, piece| {
            let at_us = u64::from(piece.at.at_ms) * 1_000;
            let read_us = until_us.max(at_us) + piece.bytes.len() as u64 * 500;
            read_us.min(at_us + 66_000_000)
        });
        u32::try_from(until_us / 1_000).unwrap_or(u32::MAX)
    }

    /// When the last byte moved here.
    pub(crate) fn last_moved_ms(&self) -> Option<u32> {
        let pieces = self.wrote.iter().chain(&self.read).map(|piece| piece.at);
        pieces.chain(self.read_end).map(|at| at.at_ms).max()
    }
}
