//! The command `chime-client ping`: the time of a round trip, and the offset of the server's clock.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use chime_client::{Connection, Error, ask_udp};
use chime_protocol::{Command, Reply};
use chrono::{Local, NaiveDateTime, TimeDelta};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::signal;
use tokio::time::{Instant, sleep_until};

use crate::arguments;
use crate::cli_error::CliError;
use crate::endpoint::Endpoint;
use crate::latency;
use crate::output_format::OutputFormat;
use crate::server_address::Transport;

/// The exit code if Ctrl-C comes before any reply.
const NO_REPLY: u8 = 4;

const AFTER_HELP: &str = "\
Sends the request send time, over one connection, which is opened again if the server has closed it, or in a \
datagram of its own with --udp, where a reply later than 1 s is lost. Prints the round trip of each, and at the end, \
or at Ctrl-C, a summary.

The clock offset is the server's time minus that of this machine in the middle of the round trip. Both are local \
times, so a server in another time zone, or with --utc, differs by hours. A service without send time has no offset \
over TCP.

With --json, each request is an object on a line, and the summary is the last one. Names that end in _us are \
microseconds, and an unknown value is null:
  request   sequence, round_trip_us, clock_offset_us, error
  summary   requests, replies, round_trip_min_us, round_trip_mean_us, round_trip_max_us, round_trip_p99_us, \
clock_offset_us

The exit code is 0 if a reply arrived, otherwise that of the last failure, or 4: see chime-client --help.

Examples:
  chime-client ping
  chime-client ping -c 10 -i 100ms --udp";

/// The options of `ping`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Flags {
    /// Number of requests; without it, until Ctrl-C
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Time from one request to the next
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = arguments::duration)]
    interval: Duration,
}

/// Sends requests and prints the round trip of each, then a summary. Returns the exit code.
pub(crate) async fn run(
    flags: &Flags,
    format: OutputFormat,
    endpoint: &Endpoint,
) -> Result<u8, CliError> {
    let mut interrupt = pin!(signal::ctrl_c());
    let mut pinger = Pinger {
        endpoint,
        connection: None,
    };
    let mut summary = Summary::new();
    loop {
        let start = Instant::now();
        let outcome = tokio::select! {
            biased;
            _ = &mut interrupt => break,
            outcome = pinger.ping() => outcome,
        };
        summary.add(&outcome);
        let text = outcome_line(format, endpoint, summary.requests, &outcome);
        writeln!(io::stdout(), "{text}").map_err(CliError::Output)?;
        summary.last_error = outcome.err().or(summary.last_error);
        if flags.count == Some(summary.requests) {
            break;
        }
        tokio::select! {
            biased;
            _ = &mut interrupt => break,
            () = sleep_until(start + flags.interval) => {}
        }
    }
    let text = match format {
        OutputFormat::Text => summary.text(endpoint),
        OutputFormat::Json => summary.json(),
    };
    writeln!(io::stdout(), "{text}").map_err(CliError::Output)?;
    Ok(match summary.last_error {
        _ if summary.replies() > 0 => 0,
        Some(error) => error.exit_code(),
        None => NO_REPLY,
    })
}

/// A reply.
struct Pong {
    round_trip: Duration,
    /// The server's time minus ours, if the reply has the time.
    clock_offset: Option<TimeDelta>,
}

/// Sends requests, over one connection as long as it lasts.
struct Pinger<'a> {
    endpoint: &'a Endpoint,
    connection: Option<Connection<TcpStream>>,
}

impl Pinger<'_> {
    async fn ping(&mut self) -> Result<Pong, CliError> {
        let endpoint = self.endpoint;
        if endpoint.transport == Transport::Udp {
            let timeout = endpoint.reply_timeout();
            return endpoint
                .try_each_address(async |address| {
                    let reply =
                        async { ask_udp(address, Command::SendTime, timeout).await.map(Some) };
                    timed(reply).await.map_err(CliError::from_udp)
                })
                .await;
        }
        if let Some(connection) = self.connection.take() {
            match self.ping_over(connection).await {
                // Perhaps the server has closed an idle connection: that is no loss.
                Err(Error::Closed | Error::Io(_)) => {}
                pong => return Ok(pong?),
            }
        }
        let connection = endpoint.greet().await?;
        Ok(self.ping_over(connection).await?)
    }

    /// Sends a request over `connection`, and keeps the connection if that succeeds.
    async fn ping_over(&mut self, mut connection: Connection<TcpStream>) -> Result<Pong, Error> {
        let pong = timed(connection.ask(Command::SendTime.name())).await?;
        self.connection = Some(connection);
        Ok(pong)
    }
}

/// Awaits a reply and measures the round trip.
async fn timed<E>(reply: impl Future<Output = Result<Option<Reply>, E>>) -> Result<Pong, E> {
    let sent_at = Local::now().naive_local();
    let start = Instant::now();
    let reply = reply.await?;
    let round_trip = start.elapsed();
    let clock_offset = match reply {
        Some(Reply::DateTime(time)) => Some(clock_offset(time, sent_at, round_trip)),
        _ => None,
    };
    Ok(Pong {
        round_trip,
        clock_offset,
    })
}

/// Returns the server's `time` minus ours in the middle of the round trip.
fn clock_offset(time: NaiveDateTime, sent_at: NaiveDateTime, round_trip: Duration) -> TimeDelta {
    let half = TimeDelta::from_std(round_trip / 2).unwrap_or_default();
    time - (sent_at + half)
}

/// Returns a request's line of output.
fn outcome_line(
    format: OutputFormat,
    endpoint: &Endpoint,
    sequence: u64,
    outcome: &Result<Pong, CliError>,
) -> String {
    let server = &endpoint.server;
    match (format, outcome) {
        (OutputFormat::Json, Ok(pong)) => json!({
            "sequence": sequence,
            "round_trip_us": latency::microseconds(pong.round_trip),
            "clock_offset_us": pong.clock_offset.map(offset_us),
            "error": null,
        })
        .to_string(),
        (OutputFormat::Json, Err(error)) => json!({
            "sequence": sequence,
            "round_trip_us": null,
            "clock_offset_us": null,
            "error": error.describe(server),
        })
        .to_string(),
        (OutputFormat::Text, Ok(pong)) => {
            let round_trip = latency::microseconds(pong.round_trip) / 1e3;
            let mut text = format!("{server}: reply {sequence} in {round_trip:.3} ms");
            if let Some(offset) = pong.clock_offset {
                text += &format!(", clock offset {:+.3} ms", offset_us(offset) / 1e3);
            }
            text
        }
        (OutputFormat::Text, Err(error)) => {
            format!("no reply {sequence}: {}", error.describe(server))
        }
    }
}

fn offset_us(offset: TimeDelta) -> f64 {
    // Days of offset need no more than 53 bits.
    offset.num_microseconds().unwrap_or(i64::MAX) as f64
}

/// The totals of all requests.
struct Summary {
    requests: u64,
    /// For the 99th percentile.
    round_trips: Histogram<u64>,
    round_trip_sum: Duration,
    round_trip_max: Duration,
    round_trip_min: Duration,
    /// The shortest round trip with a clock offset, whose offset is the most exact.
    best: Option<(Duration, TimeDelta)>,
    last_error: Option<CliError>,
}

impl Summary {
    fn new() -> Summary {
        Summary {
            requests: 0,
            round_trips: latency::histogram(),
            round_trip_sum: Duration::ZERO,
            round_trip_max: Duration::ZERO,
            round_trip_min: Duration::MAX,
            best: None,
            last_error: None,
        }
    }

    fn add(&mut self, outcome: &Result<Pong, CliError>) {
        self.requests += 1;
        let Ok(pong) = outcome else { return };
        let nanoseconds = u64::try_from(pong.round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.round_trips.saturating_record(nanoseconds);
        self.round_trip_sum += pong.round_trip;
        self.round_trip_max = self.round_trip_max.max(pong.round_trip);
        self.round_trip_min = self.round_trip_min.min(pong.round_trip);
        let is_best = self
            .best
            .is_none_or(|(shortest, _)| pong.round_trip < shortest);
        if let Some(offset) = pong.clock_offset.filter(|_| is_best) {
            self.best = Some((pong.round_trip, offset));
        }
    }

    fn replies(&self) -> u64 {
        self.round_trips.len()
    }

    /// Returns the minimum, the mean, the maximum and the 99th percentile of the round trips, in microseconds.
    fn round_trips_us(&self) -> Option<[f64; 4]> {
        let p99 = latency::quantile(&self.round_trips, 0.99)?;
        let (min, max) = (self.round_trip_min, self.round_trip_max);
        let mean = self.round_trip_sum.div_f64(self.replies() as f64);
        // The histogram rounds.
        Some([min, mean, max, p99.clamp(min, max)].map(latency::microseconds))
    }

    fn text(&self, endpoint: &Endpoint) -> String {
        let (requests, replies) = (self.requests, self.replies());
        let lost = match requests {
            0 => 0.0,
            _ => 100.0 * (requests - replies) as f64 / requests as f64,
        };
        let mut text = format!(
            "--- {} over {}\nrequests {requests}, replies {replies}, lost {lost:.1} %",
            endpoint.server, endpoint.transport
        );
        if let Some(round_trips) = self.round_trips_us() {
            let [min, mean, max, p99] = round_trips.map(|us| us / 1e3);
            text +=
                &format!("\nround trip min/avg/max/p99 {min:.3}/{mean:.3}/{max:.3}/{p99:.3} ms");
        }
        if let Some((_, offset)) = self.best {
            let offset = offset_us(offset) / 1e3;
            text += &format!("\nclock offset {offset:+.3} ms, from the shortest round trip");
        }
        text
    }

    fn json(&self) -> String {
        let [min, mean, max, p99] = match self.round_trips_us() {
            Some(round_trips) => round_trips.map(Some),
            None => [None; 4],
        };
        json!({
            "requests": self.requests,
            "replies": self.replies(),
            "round_trip_min_us": min,
            "round_trip_mean_us": mean,
            "round_trip_max_us": max,
            "round_trip_p99_us": p99,
            "clock_offset_us": self.best.map(|(_, offset)| offset_us(offset)),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta};

    use super::{Pong, Summary, clock_offset};

    #[test]
    fn the_clock_is_compared_in_the_middle_of_the_round_trip() {
        let time = |ms| {
            DateTime::from_timestamp_millis(ms)
                .expect("in range")
                .naive_utc()
        };
        for (server, sent_at, offset) in
            [(1_005, 1_000, 0), (1_000, 1_000, -5), (9_005, 1_000, 8_000)]
        {
            let round_trip = Duration::from_millis(10);
            let expected = TimeDelta::milliseconds(offset);
            assert_eq!(
                clock_offset(time(server), time(sent_at), round_trip),
                expected
            );
        }
    }

    #[test]
    fn the_offset_of_the_summary_is_that_of_the_shortest_round_trip() {
        let mut summary = Summary::new();
        for (round_trip, offset) in [
            (3, Some(30)),
            (1, Some(10)),
            (2, Some(20)),
            (1, Some(11)),
            (0, None),
        ] {
            summary.add(&Ok(Pong {
                round_trip: Duration::from_millis(round_trip),
                clock_offset: offset.map(TimeDelta::milliseconds),
            }));
        }
        let best = (Duration::from_millis(1), TimeDelta::milliseconds(10));
        assert_eq!((summary.best, summary.replies()), (Some(best), 5));
    }
}
