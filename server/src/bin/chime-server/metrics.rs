//! What `/metrics` shows, in the text format of Prometheus.

use std::fmt::Write;

use chime_protocol::Command;
use chime_server::{Counter, CounterSnapshot};
use strum::EnumCount;

use crate::logs;

/// Name, kind and help of each metric.
#[rustfmt::skip]
const METRICS: [[&str; 3]; 10] = [
    ["chime_connections_total", "counter", "Connections that were welcomed and have ended, by how."],
    ["chime_connections_refused_total", "counter", "Connections that were not welcomed, by why."],
    ["chime_requests_total", "counter", "Requests over TCP, by command."],
    ["chime_datagrams_total", "counter", "Datagrams received, by what came of them."],
    ["chime_received_bytes_total", "counter", "Bytes received over TCP."],
    ["chime_sent_bytes_total", "counter", "Bytes sent over TCP."],
    ["chime_accept_errors_total", "counter", "Times that no connection could be accepted for a while."],
    ["chime_log_lines_dropped_total", "counter", "Lines of the log that could not be written."],
    ["chime_connections_open", "gauge", "Connections that were welcomed and have not ended."],
    ["chime_build_info", "gauge", "The version of the server."],
];

/// The sample of each event. Connections served are those that are open and those that have ended.
#[rustfmt::skip]
const COUNTERS: [(&str, Counter); Counter::COUNT - 1] = [
    ("chime_connections_total{outcome=\"ended\"}", Counter::ConversationEnded),
    ("chime_connections_total{outcome=\"idle\"}", Counter::ConversationIdle),
    ("chime_connections_total{outcome=\"slow_line\"}", Counter::LineTooSlow),
    ("chime_connections_total{outcome=\"slow_reader\"}", Counter::ReaderTooSlow),
    ("chime_connections_total{outcome=\"failed\"}", Counter::ConversationFailed),
    ("chime_connections_total{outcome=\"cut\"}", Counter::ConversationCut),
    ("chime_connections_total{outcome=\"panicked\"}", Counter::ConversationPanicked),
    ("chime_connections_refused_total{reason=\"full\"}", Counter::ConnectionRefused),
    ("chime_connections_refused_total{reason=\"address\"}", Counter::AddressRefused),
    ("chime_connections_refused_total{reason=\"network\"}", Counter::NetworkDenied),
    ("chime_connections_refused_total{reason=\"header\"}", Counter::HeaderRejected),
    ("chime_datagrams_total{result=\"answered\"}", Counter::DatagramAnswered),
    ("chime_datagrams_total{result=\"unsent\"}", Counter::DatagramUnsent),
    ("chime_datagrams_total{result=\"ignored\"}", Counter::DatagramIgnored),
    ("chime_datagrams_total{result=\"limited\"}", Counter::DatagramLimited),
    ("chime_received_bytes_total", Counter::ByteReceived),
    ("chime_sent_bytes_total", Counter::ByteSent),
    ("chime_accept_errors_total", Counter::AcceptFailed),
];

/// Returns the metrics of a server that has counted this.
pub(crate) fn exposition(snapshot: &CounterSnapshot) -> String {
    let counters = COUNTERS.map(|(sample, counter)| (sample.to_string(), snapshot[counter]));
    let commands = Command::ALL
        .map(Command::name)
        .into_iter()
        .zip(snapshot.requests.commands);
    let others = [
        ("digits", snapshot.requests.digits),
        ("invalid", snapshot.requests.invalid),
    ];
    let request = |(name, count)| (format!("chime_requests_total{{command=\"{name}\"}}"), count);
    // The workers count on while they are read: one may have ended that was not yet seen to begin.
    let open = snapshot[Counter::ConnectionServed].saturating_sub(snapshot.conversations_over());
    let version = env!("CARGO_PKG_VERSION");
    let mut samples = Vec::from(counters);
    samples.extend(commands.chain(others).map(request));
    samples.extend([
        ("chime_log_lines_dropped_total".to_string(), logs::dropped()),
        ("chime_connections_open".to_string(), open),
        (format!("chime_build_info{{version=\"{version}\"}}"), 1),
    ]);
    let mut text = String::new();
    for [name, kind, help] in METRICS {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("a string takes all text");
        for (sample, value) in &samples {
            if sample.split('{').next() == Some(name) {
                writeln!(text, "{sample} {value}").expect("a string takes all text");
            }
        }
    }
    text
}
