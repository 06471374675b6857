//! The counters of a run, and why its connections failed.

use std::io;
use std::time::Duration;

use chime_client::Error;
use hdrhistogram::Histogram;

use super::fairness::Fairness;
use crate::cli_error::CliError;
use crate::latency;

/// The counters of a run.
#[derive(Debug)]
pub(crate) struct Totals {
    /// From the first request to the last reply, or to the end of sending if that is later.
    pub(crate) elapsed: Duration,
    /// Requests with a reply.
    pub(crate) requests: u64,
    /// In nanoseconds: the latency of each reply, and the age of each request given up after the timeout,
    /// a lower bound of its latency.
    pub(crate) latencies: Histogram<u64>,
    /// Fairness of the replies until the end of sending; none in an open loop.
    pub(crate) fairness: Option<Fairness>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Requests that were due but never sent.
    pub(crate) unsent: u64,
    /// Requests without a reply because their connection failed.
    pub(crate) unanswered: u64,
    /// Datagrams without a reply.
    pub(crate) lost: u64,
    pub(crate) errors: ErrorCounts,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            elapsed: Duration::ZERO,
            requests: 0,
            latencies: latency::histogram(),
            fairness: None,
            bytes_sent: 0,
            bytes_received: 0,
            unsent: 0,
            unanswered: 0,
            lost: 0,
            errors: ErrorCounts::default(),
        }
    }
}

impl Totals {
    /// Returns the first failure of the run.
    pub(crate) fn first_error(self, timeout: Duration) -> Option<CliError> {
        match self.errors.first {
            None if self.lost > 0 && self.requests == 0 => Some(LinkError::TimedOut),
            first => first,
        }
        .map(|error| error.into_cli_error(timeout))
    }
}

/// The numbers of failed connections, by kind.
#[derive(Debug, Default)]
pub(crate) struct ErrorCounts {
    pub(crate) connect: u64,
    pub(crate) closed: u64,
    pub(crate) timed_out: u64,
    pub(crate) excess: u64,
    first: Option<LinkError>,
}

impl ErrorCounts {
    pub(crate) fn add(&mut self, error: LinkError) {
        *match error {
            LinkError::Connect(_) => &mut self.connect,
            LinkError::Broken(_) => &mut self.closed,
            LinkError::TimedOut => &mut self.timed_out,
            LinkError::ExcessReplies => &mut self.excess,
        } += 1;
        self.first.get_or_insert(error);
    }

    pub(crate) fn count(&self) -> u64 {
        self.connect + self.closed + self.timed_out + self.excess
    }
}

/// Why a connection failed.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// It could not be established.
    Connect(io::Error),
    /// It ended before all replies arrived.
    Broken(Error),
    /// No reply arrived within the timeout.
    TimedOut,
    /// More replies than requests arrived.
    ExcessReplies,
}

impl LinkError {
    /// Converts the failure of a connection into the failure of the program.
    pub(crate) fn into_cli_error(self, timeout: Duration) -> CliError {
        match self {
            LinkError::Connect(error) => CliError::Connect(error),
            LinkError::Broken(error) => CliError::Client(error),
            LinkError::ExcessReplies => CliError::ExcessReplies,
            LinkError::TimedOut => CliError::Client(Error::TimedOut {
                after: timeout,
                mid_line: false,
            }),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
        };

        match error.kind() {
            AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable
            | TimedOut => LinkError::Connect(error),
            _ => LinkError::Broken(error.into()),
        }
    }
}
