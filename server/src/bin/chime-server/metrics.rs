//! What `/metrics` shows, in the text format of Prometheus.

use std::fmt::Write;

use chime_protocol::Command;
use chime_server::{Event, Tally};
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
const EVENTS: [(&str, Event); Event::COUNT - 1] = [
    ("chime_connections_total{outcome=\"ended\"}", Event::ConversationEnded),
    ("chime_connections_total{outcome=\"idle\"}", Event::ConversationIdle),
    ("chime_connections_total{outcome=\"slow_line\"}", Event::LineTooSlow),
    ("chime_connections_total{outcome=\"slow_reader\"}", Event::ReaderTooSlow),
    ("chime_connections_total{outcome=\"failed\"}", Event::ConversationFailed),
    ("chime_connections_total{outcome=\"cut\"}", Event::ConversationCut),
    ("chime_connections_total{outcome=\"panicked\"}", Event::ConversationPanicked),
    ("chime_connections_refused_total{reason=\"full\"}", Event::ConnectionRefused),
    ("chime_connections_refused_total{reason=\"address\"}", Event::AddressRefused),
    ("chime_connections_refused_total{reason=\"network\"}", Event::NetworkDenied),
    ("chime_connections_refused_total{reason=\"header\"}", Event::HeaderRejected),
    ("chime_datagrams_total{result=\"answered\"}", Event::DatagramAnswered),
    ("chime_datagrams_total{result=\"unsent\"}", Event::DatagramUnsent),
    ("chime_datagrams_total{result=\"ignored\"}", Event::DatagramIgnored),
    ("chime_datagrams_total{result=\"limited\"}", Event::DatagramLimited),
    ("chime_received_bytes_total", Event::ByteReceived),
    ("chime_sent_bytes_total", Event::ByteSent),
    ("chime_accept_errors_total", Event::AcceptFailed),
];

/// Returns the metrics of a server that has counted this.
pub(crate) fn exposition(tally: &Tally) -> String {
    let events = EVENTS.map(|(sample, event)| (sample.to_string(), tally[event]));
    let commands = Command::ALL
        .map(Command::name)
        .into_iter()
        .zip(tally.requests.commands);
    let others = [
        ("digits", tally.requests.digits),
        ("invalid", tally.requests.invalid),
    ];
    let request = |(name, count)| (format!("chime_requests_total{{command=\"{name}\"}}"), count);
    // The workers count on while they are read: one may have ended that was not yet seen to begin.
    let open = tally[Event::ConnectionServed].saturating_sub(tally.conversations_over());
    let version = env!("CARGO_PKG_VERSION");
    let mut samples = Vec::from(events);
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
