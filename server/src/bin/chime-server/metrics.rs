//! What `/metrics` shows: counters in the text format of Prometheus.

use std::fmt::Write;

use chime_protocol::Command;
use chime_server::{Event, Tally};

/// A metric, and the label that tells its values apart.
struct Metric {
    name: &'static str,
    help: &'static str,
    label: Option<&'static str>,
}

const CONNECTIONS: Metric = Metric {
    name: "chime_connections_total",
    help: "Connections that were welcomed and have ended, by how.",
    label: Some("outcome"),
};
const REFUSED: Metric = Metric {
    name: "chime_connections_refused_total",
    help: "Connections that were not welcomed, by why.",
    label: Some("reason"),
};
const REQUESTS: Metric = Metric {
    name: "chime_requests_total",
    help: "Requests over TCP, by command.",
    label: Some("command"),
};
const DATAGRAMS: Metric = Metric {
    name: "chime_datagrams_total",
    help: "Datagrams received, by what came of them.",
    label: Some("result"),
};
const RECEIVED: Metric = Metric {
    name: "chime_received_bytes_total",
    help: "Bytes received over TCP.",
    label: None,
};
const SENT: Metric = Metric {
    name: "chime_sent_bytes_total",
    help: "Bytes sent over TCP.",
    label: None,
};
const ACCEPT_ERRORS: Metric = Metric {
    name: "chime_accept_errors_total",
    help: "Times that no connection could be accepted for a while.",
    label: None,
};

const COUNTERS: [&Metric; 7] = [
    &CONNECTIONS,
    &REFUSED,
    &REQUESTS,
    &DATAGRAMS,
    &RECEIVED,
    &SENT,
    &ACCEPT_ERRORS,
];

/// The metrics of a server that has counted this.
pub(crate) fn exposition(tally: &Tally) -> String {
    let mut text = String::new();
    for metric in COUNTERS {
        head(&mut text, metric.name, metric.help, "counter");
        for (shown_in, value, count) in values(tally) {
            if shown_in.name == metric.name {
                sample(&mut text, metric, value, count);
            }
        }
    }
    let name = "chime_connections_open";
    let help = "Connections that were welcomed and have not ended.";
    head(&mut text, name, help, "gauge");
    line(&mut text, format_args!("{name} {}", open(tally)));
    let name = "chime_build_info";
    head(&mut text, name, "The version of the server.", "gauge");
    let version = env!("CARGO_PKG_VERSION");
    line(&mut text, format_args!("{name}{{version=\"{version}\"}} 1"));
    text
}

/// What has been counted: the metric that shows it, the value of its label, and the count.
fn values(tally: &Tally) -> impl Iterator<Item = (&'static Metric, &'static str, u64)> {
    let events = Event::ALL.into_iter().filter_map(|event| {
        let (metric, value) = place(event)?;
        Some((metric, value, tally[event]))
    });
    let requests = &tally.requests;
    let commands = Command::ALL.into_iter().zip(requests.commands);
    let commands = commands.map(|(command, count)| (command.name(), count));
    let others = [("digits", requests.digits), ("invalid", requests.invalid)];
    let requests = commands.chain(others);
    events.chain(requests.map(|(value, count)| (&REQUESTS, value, count)))
}

/// The metric that shows this event, and the value of its label.
fn place(event: Event) -> Option<(&'static Metric, &'static str)> {
    let place = match event {
        // Shown by those that are open and those that have ended.
        Event::ConnectionServed => return None,
        Event::ConnectionRefused => (&REFUSED, "full"),
        Event::AddressRefused => (&REFUSED, "address"),
        Event::NetworkDenied => (&REFUSED, "network"),
        Event::HeaderRejected => (&REFUSED, "header"),
        Event::AcceptFailed => (&ACCEPT_ERRORS, ""),
        Event::ConversationEnded => (&CONNECTIONS, "ended"),
        Event::ConversationIdle => (&CONNECTIONS, "idle"),
        Event::LineTooSlow => (&CONNECTIONS, "slow_line"),
        Event::ReaderTooSlow => (&CONNECTIONS, "slow_reader"),
        Event::ConversationFailed => (&CONNECTIONS, "failed"),
        Event::ConversationCut => (&CONNECTIONS, "cut"),
        Event::ConversationPanicked => (&CONNECTIONS, "panicked"),
        Event::ByteReceived => (&RECEIVED, ""),
        Event::ByteSent => (&SENT, ""),
        Event::DatagramAnswered => (&DATAGRAMS, "answered"),
        Event::DatagramUnsent => (&DATAGRAMS, "unsent"),
        Event::DatagramIgnored => (&DATAGRAMS, "ignored"),
        Event::DatagramLimited => (&DATAGRAMS, "limited"),
    };
    Some(place)
}

fn open(tally: &Tally) -> u64 {
    // The workers count on while they are read: one may have ended that was not yet seen to begin.
    tally[Event::ConnectionServed].saturating_sub(tally.conversations_over())
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

fn sample(text: &mut String, metric: &Metric, value: &str, count: u64) {
    let name = metric.name;
    match metric.label {
        Some(label) => line(text, format_args!("{name}{{{label}=\"{value}\"}} {count}")),
        None => line(text, format_args!("{name} {count}")),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all text");
}
