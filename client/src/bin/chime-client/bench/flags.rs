//! The options of `bench`, and the plan that they make.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;

use crate::arguments;

/// How long the load lasts, where nothing else is asked for.
const DURATION: Duration = Duration::from_secs(10);
/// How long the load goes unmeasured, where nothing else is asked for.
const WARM_UP: Duration = Duration::from_secs(1);

/// What `bench --help` says after the options.
pub(crate) const AFTER_HELP: &str = "\
Without --rate each connection sends its next request when a reply has come (closed loop). With it \
requests are due at a steady rate (open loop), and a latency counts from when its request was due: \
a server that stalls is charged for all who had to wait.

Latencies include replies after the time to send. A request given up after --timeout counts with its \
age, a lower bound of its latency: a starved connection is visible in the quantiles. Requests never \
sent, and requests of a connection that failed otherwise, do not count.

Over UDP there are no line ends. Replies are taken for those of the oldest requests, and when none \
comes within --timeout the requests of that socket count as lost: a --timeout of 1s suits it better \
than the usual one.

The report is on standard output. With --json it is one object; numbers of requests and bytes are \
integers, requests_per_second and rate are requests a second, seconds are seconds, the names that end \
in _us are microseconds; what is not known is null:
  server, transport, request, connections, in_flight, churn, rate,
  requests, seconds, requests_per_second, bytes_sent, bytes_received,
  unsent       requests that were to be sent, but no connection had room for them in time
  unanswered   requests whose connection failed before their replies came
  lost         datagrams without a reply
  replies_per_connection_min  the fewest replies of a connection within the time to send
  replies_per_connection_max  the most; null with --rate, as are the fewest and fairness
  fairness     Jain's index of the replies of each: 1 if all have as many, 1/connections if one has all
  errors       an object with the number of connections that failed: connect, closed, timed_out, excess
  latency_min_us, latency_mean_us, latency_p50_us, latency_p90_us, latency_p99_us, latency_p99_9_us,
  latency_max_us

The exit code is 0 if nothing failed, else that of the first failure: see chime-client --help.

Examples:
  chime-client bench --in-flight 100
  chime-client bench --rate 10000 --duration 1m --json
  chime-client bench --udp --timeout 1s
  chime-client bench --churn --connections 10 --requests 10000
  chime-client bench --server 127.0.0.1:6379 --greeting-lines 0 --request PING
  chime-client bench --server 127.0.0.1:11211 --greeting-lines 0 --request version";

/// The options of `bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Flags {
    /// Connections, or sockets with --udp
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Requests on their way at one time on each connection, up to 100000
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,

    /// How long to send, such as 30s or 5m; 10s unless given
    #[arg(long, value_name = "DURATION", value_parser = arguments::timeout)]
    duration: Option<Duration>,

    /// How many requests to send over all connections, in place of --duration
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warm_up"])]
    requests: Option<NonZero<u64>>,

    /// How long to send before it is measured; 1s unless given
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    warm_up: Option<Duration>,

    /// Requests due a second over all connections, at most a billion, in place of as many as it takes
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,

    /// The line to send, without its end
    #[arg(long, value_name = "TEXT", default_value = "day", value_parser = arguments::line)]
    request: String,

    /// The lines that the server sends first on a connection
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "udp")]
    greeting_lines: u16,

    /// The lines of a reply
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "udp")]
    reply_lines: NonZero<u16>,

    /// A connection for each request: connect, greeting, request, reply, close
    #[arg(long, conflicts_with_all = ["in_flight", "udp"])]
    churn: bool,
}

impl Flags {
    /// The plan that the options make, over UDP or TCP, with a report of text or JSON, unless it is none
    /// for UDP.
    pub(crate) fn plan(&self, is_udp: bool, json: bool) -> Option<Plan> {
        // What conflicts with an option before the name of the command is not seen by clap.
        if is_udp && self.churn {
            return None;
        }
        let extent = match self.requests {
            Some(requests) => Extent::Requests(requests.get()),
            None => Extent::Time {
                warm_up: self.warm_up.unwrap_or(WARM_UP),
                measured: self.duration.unwrap_or(DURATION),
            },
        };
        Some(Plan {
            is_udp,
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

/// What load to make, and what to expect of the server.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) is_udp: bool,
    /// At least one.
    pub(crate) connections: usize,
    /// Requests on their way at one time on each connection, at least one.
    pub(crate) in_flight: u64,
    pub(crate) extent: Extent,
    /// Requests due a second over all connections; closed loop if none.
    pub(crate) rate: Option<u64>,
    /// A line without its end.
    pub(crate) request: String,
    pub(crate) greeting_lines: u64,
    /// At least one.
    pub(crate) reply_lines: u64,
    /// Whether each request has a connection of its own.
    pub(crate) churn: bool,
    pub(crate) json: bool,
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// So many requests.
    Requests(u64),
    /// For some time, which is measured after the warm-up.
    Time {
        warm_up: Duration,
        measured: Duration,
    },
}
