//! The log of a connection: when it opens and closes at level debug, its requests at level trace. Never what it sends.
//!
//! The event of the close has the target [`ACCESS`], so that it can be selected alone.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use chime_protocol::RequestCounts;
use tokio::time::Instant;
use tracing::{Level, debug, enabled, trace};

use crate::Counter;

/// The target of the event that describes a connection which has closed.
pub const ACCESS: &str = "access";

/// The number of the next connection of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The totals of a connection, kept only if its close is logged.
#[derive(Debug)]
pub(crate) struct ConnectionLog {
    number: u64,
    client: SocketAddr,
    opened_at: Instant,
    requests: u64,
    received: u64,
    sent: u64,
}

impl ConnectionLog {
    /// Logs that a connection has opened. Returns `None` if its close will not be logged.
    pub(crate) fn open(client: SocketAddr) -> Option<Box<ConnectionLog>> {
        if !enabled!(target: ACCESS, Level::DEBUG) {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        debug!(connection = number, %client, "opened");
        Some(Box::new(ConnectionLog {
            number,
            client,
            opened_at: Instant::now(),
            requests: 0,
            received: 0,
            sent: 0,
        }))
    }

    /// Counts requests, and logs the number of each kind.
    pub(crate) fn add_requests(&mut self, requests: &RequestCounts) {
        self.requests += requests.total();
        if enabled!(Level::TRACE) {
            for (kind, count) in requests.iter().filter(|(_, count)| *count > 0) {
                trace!(
                    connection = self.number,
                    kind = kind.name(),
                    count,
                    "requests"
                );
            }
        }
    }

    pub(crate) fn add_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    pub(crate) fn add_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Logs that the connection has closed, and the reason: the outcome of its conversation; without one, it was refused.
    /// `error` is that of the stream, if it failed.
    pub(crate) fn close(&self, outcome: Option<Counter>, error: Option<&dyn Display>) {
        let reason = outcome.and_then(Counter::outcome).unwrap_or("refused");
        debug!(
            target: ACCESS,
            connection = self.number,
            client = %self.client,
            requests = self.requests,
            received_bytes = self.received,
            sent_bytes = self.sent,
            seconds = self.opened_at.elapsed().as_secs_f64(),
            reason,
            error = error.map(tracing::field::display),
            "closed"
        );
    }
}
