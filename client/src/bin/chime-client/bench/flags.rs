//! The options of `bench`, and the plan built from them.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;

use crate::arguments;
use crate::server_address::Transport;

/// The default of `--duration`.
const DURATION: Duration = Duration::from_secs(10);
/// The default of `--warm-up`.
const WARM_UP: Duration = Duration::from_secs(1);

/// The help text after the options.
pub(crate) const AFTER_HELP: &str = "\
Without --rate, each connection sends its next request when a reply arrives (closed loop). With \
--rate, requests are due at a steady rate (open loop) and latency is measured from the due time: a \
stall of the server counts against every request that was due meanwhile (no coordinated omission).

Latencies include replies that arrive after the end of sending. A request given up after --timeout \
counts with its age, a lower bound of its latency, so a starved connection shows in the percentiles. \
Requests that were never sent, or whose connection failed otherwise, have no latency.

Over UDP a request is a datagram without a newline. A reply counts for the oldest request. When no \
reply arrives within 1 s, or within --timeout if that is less, the requests in flight on that socket count \
as lost.

Ctrl-C ends the load and prints the report, without the requests in flight; during the \
warm-up, a report of the warm-up. A second Ctrl-C exits at once, with 130.

The report goes to standard output: the load, totals, latencies, and the number of requests by \
latency. With --json it is one object. Counts are integers, rates are \
requests a second, names that end in _us are microseconds, and an unknown value is null:
  server, transport, request, connections, in_flight, churn, rate,
  requests, seconds, requests_per_second, bytes_sent, bytes_received,
  unsent       requests not sent in time because every connection was at its limit
  unanswered   requests without a reply because their connection failed
  lost         datagrams without a reply
  replies_per_connection_min  the fewest replies of a connection until the end of sending
  replies_per_connection_max  the most; null with --rate, like the fewest and fairness
  fairness     Jain's index of the replies per connection: 1 if all are equal, 1/connections if one has all
  errors       an object that counts failed connections: connect, closed, timed_out, excess
  latency_min_us, latency_mean_us, latency_p50_us, latency_p90_us, latency_p99_us, latency_p99_9_us,
  latency_max_us

The exit code is 0, or that of the first failure: see chime-client --help.

Examples:
  chime-client bench --in-flight 100
  chime-client bench --rate 10000 --duration 1m --json
  chime-client bench --udp
  chime-client bench --churn --connections 10 --requests 10000
  chime-client bench --server localhost:6379 --greeting-lines 0 --request PING
  chime-client bench -p 11211 --greeting-lines 0 --request version";

/// The options of `bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Flags {
    /// Connections, or sockets with --udp
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Requests in flight on each connection, up to 100000
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,

    /// How long to send, such as 30s or 5m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = arguments::timeout)]
    duration: Option<Duration>,

    /// Number of requests to send over all connections, instead of --duration
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["duration", "warm_up"],
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    requests: Option<u64>,

    /// How long to send before the measurement starts [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    warm_up: Option<Duration>,

    /// Requests a second over all connections (open loop), up to 1000000000
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,

    /// The line to send, without the newline
    #[arg(long, value_name = "TEXT", default_value = "day", value_parser = arguments::line)]
    request: String,

    /// Number of lines that the server sends when a connection opens
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "udp")]
    greeting_lines: u16,

    /// Number of lines in a reply
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "udp")]
    reply_lines: NonZero<u16>,

    /// Open a connection for each request: connect, greeting, request, reply, close
    #[arg(long, conflicts_with_all = ["in_flight", "udp"])]
    churn: bool,
}

impl Flags {
    /// Returns the plan for a transport with a text or JSON report; none if the options do not apply to UDP.
    pub(crate) fn plan(&self, transport: Transport, json: bool) -> Option<Plan> {
        // clap does not detect a conflict with an option before the subcommand.
        if transport == Transport::Udp && self.churn {
            return None;
        }
        let extent = match self.requests {
            Some(requests) => Extent::Requests(requests),
            None => Extent::Time {
                warm_up: self.warm_up.unwrap_or(WARM_UP),
                measured: self.duration.unwrap_or(DURATION),
            },
        };
        Some(Plan {
            connections: self.connections.into(),
            in_flight: self.in_flight.into(),
            extent,
            rate: self.rate,
            request: self.request.clone(),
            greeting_lines: self.greeting_lines.into(),
            reply_lines: self.reply_lines.get().into(),
            churn: self.churn,
            json,
        })
    }
}

/// The load to generate, and the replies to expect.
#[derive(Debug)]
pub(crate) struct Plan {
    /// At least one.
    pub(crate) connections: usize,
    /// The most requests in flight on each connection, at least one.
    pub(crate) in_flight: u64,
    pub(crate) extent: Extent,
    /// Requests a second over all connections; closed loop if none.
    pub(crate) rate: Option<u64>,
    /// A line without its newline.
    pub(crate) request: String,
    pub(crate) greeting_lines: u64,
    /// At least one.
    pub(crate) reply_lines: u64,
    /// Whether each request has a connection of its own.
    pub(crate) churn: bool,
    pub(crate) json: bool,
}

/// When to stop sending.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// After this number of requests.
    Requests(u64),
    /// After the warm-up and the measured time.
    Time {
        warm_up: Duration,
        measured: Duration,
    },
}
