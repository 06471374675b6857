//! The page `/metrics`, in the text format of Prometheus.

use std::fmt::Write;

use chime_protocol::RequestKind;
use chime_server::{Counter, CounterSnapshot};
use strum::VariantArray;

use crate::flags::VERSION;
use crate::logs;

/// The name, type and help text of each metric.
#[rustfmt::skip]
const METRICS: [[&str; 3]; 10] = [
    ["chime_connections_total", "counter", "Connections served and ended, by outcome."],
    ["chime_connections_refused_total", "counter", "Connections refused, by reason."],
    ["chime_requests_total", "counter", "Requests over TCP, by command."],
    ["chime_datagrams_total", "counter", "Datagrams received, by result."],
    ["chime_received_bytes_total", "counter", "Bytes received over TCP."],
    ["chime_sent_bytes_total", "counter", "Bytes sent over TCP."],
    ["chime_accept_errors_total", "counter", "Accept errors."],
    ["chime_log_lines_dropped_total", "counter", "Log lines dropped because the log could not be written."],
    ["chime_connections_open", "gauge", "Connections being served."],
    ["chime_build_info", "gauge", "The version of the server, with its commit if the packager named it."],
];

/// Returns the sample of a counter; `None` for connections served, which the samples of open and ended
/// connections include.
fn sample(counter: Counter) -> Option<String> {
    let sample = match counter {
        Counter::ConnectionServed => return None,
        Counter::ConversationEnded
        | Counter::ConversationIdle
        | Counter::LineTooSlow
        | Counter::ReaderTooSlow
        | Counter::ConversationFailed
        | Counter::ConversationCut
        | Counter::ConversationPanicked => {
            let outcome = counter.outcome()?;
            return Some(format!("chime_connections_total{{outcome=\"{outcome}\"}}"));
        }
        Counter::ConnectionRefused => "chime_connections_refused_total{reason=\"full\"}",
        Counter::AddressRefused => "chime_connections_refused_total{reason=\"address\"}",
        Counter::NetworkDenied => "chime_connections_refused_total{reason=\"network\"}",
        Counter::HeaderRejected => "chime_connections_refused_total{reason=\"header\"}",
        Counter::DatagramAnswered => "chime_datagrams_total{result=\"answered\"}",
        Counter::DatagramUnsent => "chime_datagrams_total{result=\"unsent\"}",
        Counter::DatagramIgnored => "chime_datagrams_total{result=\"ignored\"}",
        Counter::DatagramLimited => "chime_datagrams_total{result=\"limited\"}",
        Counter::ByteReceived => "chime_received_bytes_total",
        Counter::ByteSent => "chime_sent_bytes_total",
        Counter::AcceptFailed => "chime_accept_errors_total",
    };
    Some(sample.to_owned())
}

/// Returns the page for these counters.
pub(crate) fn exposition(snapshot: &CounterSnapshot) -> String {
    let counters = Counter::VARIANTS
        .iter()
        .filter_map(|counter| Some((sample(*counter)?, snapshot[*counter])));
    let request = |(kind, count): (RequestKind, u64)| {
        let name = kind.name();
        (format!("chime_requests_total{{command=\"{name}\"}}"), count)
    };
    // Workers keep counting during the snapshot, so an end may be seen without its beginning.
    let open = snapshot[Counter::ConnectionServed].saturating_sub(snapshot.conversations_ended());
    let mut samples: Vec<_> = counters.collect();
    samples.extend(snapshot.requests.iter().map(request));
    samples.extend([
        ("chime_log_lines_dropped_total".to_string(), logs::dropped()),
        ("chime_connections_open".to_string(), open),
        (format!("chime_build_info{{version=\"{}\"}}", *VERSION), 1),
    ]);
    let mut text = String::new();
    for [name, kind, help] in METRICS {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("writing to a string succeeds");
        for (sample, value) in &samples {
            if sample.split('{').next() == Some(name) {
                writeln!(text, "{sample} {value}").expect("writing to a string succeeds");
            }
        }
    }
    text
}
