//! The events of a connection.

use std::net::SocketAddr;

use super::End;
use super::index::Moment;

/// A connection.
#[derive(Clone)]
pub struct Connection<'a> {
    /// When the server accepted it.
    pub accepted: Moment,
    /// The address of the client.
    pub from: SocketAddr,
    /// The number of the listener.
    pub listener: u16,
    /// The number of its client, if the client was connected.
    pub client: Option<usize>,
    /// When the client was connected.
    pub connected: Option<Moment>,
    /// The life of its server: an index into [`Index::lives`](super::Index::lives).
    pub life: usize,
    /// The client's end.
    pub client_side: Side<'a>,
    /// The server's end.
    pub server_side: Side<'a>,
}

impl<'a> Connection<'a> {
    /// Returns one end.
    pub fn side(&self, end: End) -> &Side<'a> {
        match end {
            End::Client => &self.client_side,
            End::Server => &self.server_side,
        }
    }

    /// Returns when both ends had been dropped, or the maximum.
    pub fn end_ms(&self) -> u32 {
        let end_ms = |side: &Side<'_>| side.dropped.map_or(u32::MAX, |dropped| dropped.at_ms);
        end_ms(&self.client_side).max(end_ms(&self.server_side))
    }
}

/// One end of a connection.
#[derive(Clone, Default)]
pub struct Side<'a> {
    /// The writes, in order.
    pub wrote: Vec<Piece<'a>>,
    /// The reads, in order, without that of EOF.
    pub read: Vec<Piece<'a>>,
    /// When it was closed for writing.
    pub shut: Option<Moment>,
    /// When EOF was read.
    pub read_end: Option<Moment>,
    /// When the last write had to wait for the other end to read.
    pub blocked_ms: Option<u32>,
    /// When a read or write failed first, and whether that failure was injected.
    pub failed: Option<(Moment, bool)>,
    /// When the stream was dropped.
    pub dropped: Option<Moment>,
}

/// The bytes of one read or write.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// When.
    pub at: Moment,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether a write moved fewer bytes than it was given.
    pub is_short: bool,
}

impl Side<'_> {
    /// Returns all bytes that were read here.
    pub fn bytes_read(&self) -> Vec<u8> {
        let bytes = self.read.iter().flat_map(|piece| piece.bytes);
        bytes.copied().collect()
    }

    /// Returns when this end was closed for writing, by itself or with the stream.
    pub fn closed(&self) -> Option<Moment> {
        self.shut.or(self.dropped)
    }

    /// Returns whether a read or write failed and the failure was not injected.
    pub fn is_reset(&self) -> bool {
        self.failed.is_some_and(|(_, is_injected)| !is_injected)
    }

    /// Returns when the last byte or EOF moved here.
    pub fn last_moved_ms(&self) -> Option<u32> {
        let pieces = self.wrote.iter().chain(&self.read).map(|piece| piece.at);
        pieces.chain(self.read_end).map(|at| at.at_ms).max()
    }
}
