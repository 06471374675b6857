//! The report of a run, as text and as JSON.

use std::fmt;

use humantime::format_duration;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::fairness::Fairness;
use super::flags::{Extent, Plan};
use super::totals::Totals;
use crate::endpoint::Endpoint;
use crate::latency::{self, Latencies};
use crate::server_address::Transport;

/// The report of a run. [`Display`](fmt::Display) writes text for people.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) totals: &'a Totals,
}

/// The first line of the output: what is run.
pub(crate) struct Heading<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) endpoint: &'a Endpoint,
}

impl fmt::Display for Heading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Heading { plan, endpoint } = self;
        let Endpoint {
            transport, server, ..
        } = endpoint;
        let connections = counted(plan.connections as u64, link_name(*transport));
        write!(f, "load      {transport} {server}, {connections}, ")?;
        match plan.churn {
            true => write!(f, "each for one request")?,
            false => write!(f, "{} in flight on each", HumanCount(plan.in_flight))?,
        }
        match plan.extent {
            Extent::Requests(requests) => write!(f, ", {}", counted(requests, "request"))?,
            Extent::Time { warm_up, measured } => {
                write!(f, ", {}", format_duration(measured))?;
                if !warm_up.is_zero() {
                    write!(f, " after {} of warm-up", format_duration(warm_up))?;
                }
            }
        }
        if let Some(rate) = plan.rate {
            write!(f, ", {} a second", HumanCount(rate))?;
        }
        write!(f, ": '{}'", plan.request.escape_debug())
    }
}

fn link_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "connection",
        Transport::Udp => "socket",
    }
}

/// Returns a number of things in words.
fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", HumanCount(count))
}

impl Report<'_> {
    /// Returns the report as one object, whose names `bench --help` documents.
    pub(crate) fn json(&self) -> Value {
        let Report {
            plan,
            endpoint,
            totals,
        } = self;
        let errors = &totals.errors;
        json!({
            "server": endpoint.server.to_string(),
            "transport": endpoint.transport.to_string().to_lowercase(),
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
            "latency_min_us": self.latency(0.0),
            "latency_mean_us": latency::mean(&totals.latencies).map(latency::microseconds),
            "latency_p50_us": self.latency(0.5),
            "latency_p90_us": self.latency(0.9),
            "latency_p99_us": self.latency(0.99),
            "latency_p99_9_us": self.latency(0.999),
            "latency_max_us": self.latency(1.0),
        })
    }

    /// Returns the throughput; none if no time has passed.
    fn requests_per_second(&self) -> Option<f64> {
        let seconds = self.totals.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| self.totals.requests as f64 / seconds)
    }

    /// Returns a quantile of the latency, from 0 to 1, in microseconds; none without requests.
    fn latency(&self, quantile: f64) -> Option<f64> {
        latency::quantile(&self.totals.latencies, quantile).map(latency::microseconds)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.totals;
        let transport = self.endpoint.transport;
        let link = link_name(transport);
        let seconds = totals.elapsed.as_secs_f64();
        let per_second = self.requests_per_second().unwrap_or_default().round() as u64;
        write!(f, "requests  {}", HumanCount(totals.requests))?;
        writeln!(f, " in {seconds:.3} s, {} a second", HumanCount(per_second))?;
        let (sent, received) = (
            HumanCount(totals.bytes_sent),
            HumanCount(totals.bytes_received),
        );
        writeln!(f, "bytes     {sent} sent, {received} received")?;
        write!(f, "{}", Latencies(&totals.latencies))?;
        if let Some(Fairness {
            replies_min,
            replies_max,
            index,
        }) = totals.fairness
        {
            let index = index.map_or("unknown".to_owned(), |index| format!("{index:.3}"));
            writeln!(
                f,
                "fairness  {index}, {} to {} replies a {link}",
                HumanCount(replies_min),
                HumanCount(replies_max)
            )?;
        }
        let errors = &totals.errors;
        let (not_open, closed) = match transport {
            Transport::Tcp => ("could not be opened", "the server closed"),
            Transport::Udp => ("reached no server", "failed"),
        };
        for (count, description) in [
            (errors.connect, not_open),
            (errors.closed, closed),
            (errors.timed_out, "had no reply in time"),
            (errors.excess, "had more replies than requests"),
        ] {
            if count > 0 {
                writeln!(
                    f,
                    "errors    {link}s that {description}: {}",
                    HumanCount(count)
                )?;
            }
        }
        if errors.count() == 0 {
            writeln!(f, "errors    none")?;
        }
        for (name, count, description) in [
            (
                "unanswered",
                totals.unanswered,
                "on them, which the server may not have received",
            ),
            (
                "unsent",
                totals.unsent,
                "because every connection was at its limit",
            ),
        ] {
            if count > 0 {
                let requests = counted(count, "request");
                writeln!(f, "{name:<9} {requests} {description}")?;
            }
        }
        if transport == Transport::Udp {
            let lost = counted(totals.lost, "datagram");
            writeln!(f, "lost      {lost} without a reply")?;
        }
        Ok(())
    }
}
