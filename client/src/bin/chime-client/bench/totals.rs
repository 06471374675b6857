//! What is counted.

use std::io;
use std::time::Duration;

use chime_client::Error;
use hdrhistogram::Histogram;

use super::fairness::Fairness;
use crate::cli_error::CliError;

/// The longest latency that is told apart from longer ones, in nanoseconds: an hour.
const LATENCY_MAX: u64 = 3_600_000_000_000;
/// The decimal digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Totals {
    /// From the first request to the last reply, or to the end of the time to send.
    pub(crate) elapsed: Duration,
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// In nanoseconds: the latency of each request answered, and the age of each request given up after
    /// the timeout, a lower bound of its latency.
    pub(crate) latencies: Histogram<u64>,
    /// Of the replies within the time to send; none in an open loop.
    pub(crate) fairness: Option<Fairness>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Requests that were to be sent and never were.
    pub(crate) unsent: u64,
    /// Requests whose connection failed.
    pub(crate) unanswered: u64,
    /// Datagrams without a reply.
    pub(crate) lost: u64,
    pub(crate) errors: Errors,
}

impl Default for Totals {
    fn default() -> Totals {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, LATENCY_DIGITS);
        Totals {
            elapsed: Duration::ZERO,
            requests: 0,
            latencies: latencies.expect("the bounds are in order"),
            fairness: None,
            bytes_sent: 0,
            bytes_received: 0,
            unsent: 0,
            unanswered: 0,
            lost: 0,
            errors: Errors::default(),
        }
    }
}

impl Totals {
    /// Why the run failed, if it did.
    pub(crate) fn failure(self, timeout: Duration) -> Option<CliError> {
        match self.errors.first {
            None if self.lost > 0 && self.requests == 0 => Some(LinkError::TimedOut),
            first => first,
        }
        .map(|fault| fault.failure(timeout))
    }
}

/// The connections that failed.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) connect: u64,
    pub(crate) closed: u64,
    pub(crate) timed_out: u64,
    pub(crate) excess: u64,
    first: Option<LinkError>,
}

impl Errors {
    pub(crate) fn add(&mut self, fault: LinkError) {
        *match fault {
            LinkError::Connect(_) => &mut self.connect,
            LinkError::Broken(_) => &mut self.closed,
            LinkError::TimedOut => &mut self.timed_out,
            LinkError::ExcessReplies => &mut self.excess,
        } += 1;
        self.first.get_or_insert(fault);
    }

    pub(crate) fn count(&self) -> u64 {
        self.connect + self.closed + self.timed_out + self.excess
    }
}

/// Why a connection failed.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// It never came to be.
    Connect(io::Error),
    /// It ended before all replies had come.
    Broken(Error),
    /// No reply came in time.
    TimedOut,
    /// More replies than requests have come.
    ExcessReplies,
}

impl LinkError {
    /// The failure of the whole program that this is, with this timeout.
    pub(crate) fn failure(self, timeout: Duration) -> CliError {
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
