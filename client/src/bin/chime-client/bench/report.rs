//! The report of a run, as text and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::fairness::Fairness;
use super::flags::Plan;
use super::totals::Totals;
use crate::server_address::ServerAddress;

/// The report of a run. [`Display`](fmt::Display) writes text for people.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) server: &'a ServerAddress,
    pub(crate) totals: &'a Totals,
}

impl Report<'_> {
    /// Returns the report as one object, whose names `bench --help` documents.
    pub(crate) fn json(&self) -> Value {
        let Report {
            plan,
            server,
            totals,
        } = self;
        let errors = &totals.errors;
        json!({
            "server": server.to_string(),
            "transport": if plan.is_udp { "udp" } else { "tcp" },
            "request": plan.request,
            "connections": plan.connections,
            "in_flight": plan.in_flight,
            "churn": plan.churn,
            "rate": plan.rate,
            "requests": totals.requests,
            "seconds": totals.elapsed.as_secs_f64(),
            "requests_per_second": self.requests_per_second(),
            "bytes_sent": totals.bytes_sent,
            "bytes_received": totals.bytes_received,
            "unsent": totals.unsent,
            "unanswered": totals.unanswered,
            "lost": totals.lost,
            "errors": {
                "connect": errors.connect,
                "closed": errors.closed,
                "timed_out": errors.timed_out,
                "excess": errors.excess,
            },
            "replies_per_connection_min": totals.fairness.map(|fairness| fairness.replies_min),
            "replies_per_connection_max": totals.fairness.map(|fairness| fairness.replies_max),
            "fairness": totals.fairness.and_then(|fairness| fairness.index),
            "latency_min_us": self.latency(0.0).map(microseconds),
            "latency_mean_us": self.mean().map(microseconds),
            "latency_p50_us": self.latency(0.5).map(microseconds),
            "latency_p90_us": self.latency(0.9).map(microseconds),
            "latency_p99_us": self.latency(0.99).map(microseconds),
            "latency_p99_9_us": self.latency(0.999).map(microseconds),
            "latency_max_us": self.latency(1.0).map(microseconds),
        })
    }

    /// Returns the throughput; none if no time has passed.
    fn requests_per_second(&self) -> Option<f64> {
        let seconds = self.totals.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| self.totals.requests as f64 / seconds)
    }

    /// Returns a quantile of the latency, from 0 to 1; none without requests.
    fn latency(&self, quantile: f64) -> Option<Duration> {
        let latencies = &self.totals.latencies;
        let nanoseconds = latencies.value_at_quantile(quantile);
        (!latencies.is_empty()).then(|| Duration::from_nanos(nanoseconds))
    }

    fn mean(&self) -> Option<Duration> {
        let latencies = &self.totals.latencies;
        let nanoseconds = latencies.mean() as u64;
        (!latencies.is_empty()).then(|| Duration::from_nanos(nanoseconds))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.totals;
        let seconds = totals.elapsed.as_secs_f64();
        let per_second = self.requests_per_second().unwrap_or_default();
        write!(f, "requests  {}", totals.requests)?;
        writeln!(f, " in {seconds:.3} s, {per_second:.0} a second")?;
        let (sent, received) = (totals.bytes_sent, totals.bytes_received);
        writeln!(f, "bytes     {sent} sent, {received} received")?;
        for (quantile, name) in [
            (0.5, "p50  "),
            (0.9, "p90  "),
            (0.99, "p99  "),
            (0.999, "p99.9"),
            (1.0, "max  "),
        ] {
            let label = if quantile == 0.5 { "latency" } else { "" };
            match self.latency(quantile) {
                Some(latency) => writeln!(f, "{label:<10}{name} {}", Rounded(latency))?,
                None => writeln!(f, "{label:<10}{name} unknown")?,
            }
        }
        if let Some(Fairness {
            replies_min,
            replies_max,
            index,
        }) = totals.fairness
        {
            let index = index.map_or("unknown".to_owned(), |index| format!("{index:.3}"));
            writeln!(
                f,
                "fairness  {index}, {replies_min} to {replies_max} replies a connection"
            )?;
        }
        let errors = &totals.errors;
        for (count, description) in [
            (errors.connect, "connections that could not be opened"),
            (
                errors.closed,
                "connections that closed before their replies",
            ),
            (errors.timed_out, "connections without a reply in time"),
            (errors.excess, "connections with more replies than requests"),
        ] {
            if count > 0 {
                writeln!(f, "errors    {description}: {count}")?;
            }
        }
        if errors.count() == 0 {
            writeln!(f, "errors    none")?;
        }
        for (name, count, description) in [
            (
                "unanswered",
                totals.unanswered,
                "requests on those connections",
            ),
            (
                "unsent",
                totals.unsent,
                "requests, because every connection was at its limit",
            ),
        ] {
            if count > 0 {
                writeln!(f, "{name:<9} {count} {description}")?;
            }
        }
        if self.plan.is_udp {
            writeln!(f, "lost      {} datagrams without a reply", totals.lost)?;
        }
        Ok(())
    }
}

fn microseconds(latency: Duration) -> f64 {
    latency.as_nanos() as f64 / 1e3
}

/// A duration in µs with one decimal, or in ms or s with three.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rounded(duration) = self;
        match duration.as_micros() {
            0..1_000 => write!(f, "{:.1} µs", microseconds(*duration)),
            1_000..1_000_000 => write!(f, "{:.3} ms", duration.as_secs_f64() * 1e3),
            1_000_000.. => write!(f, "{:.3} s", duration.as_secs_f64()),
        }
    }
}
