//! What `/metrics` shows, in the text format of Prometheus.

use std::fmt::Write;

use chime_protocol::Command;
use chime_server::{Event, Tally};

use crate::logs;

/// Returns the metrics of a server that has counted this.
pub(crate) fn exposition(tally: &Tally) -> String {
    let of = |samples: &[(&'static str, Event)]| -> Vec<_> {
        samples
            .iter()
            .map(|(value, event)| (*value, tally[*event]))
            .collect()
    };
    let requests = &tally.requests;
    let commands = Command::ALL
        .map(Command::name)
        .into_iter()
        .zip(requests.commands);
    let others = [("digits", requests.digits), ("invalid", requests.invalid)];
    // The workers count on while they are read: one may have ended that was not yet seen to begin.
    let open = tally[Event::ConnectionServed].saturating_sub(tally.conversations_over());
    let families = [
        (
            "chime_connections_total counter Connections that were welcomed and have ended, by how.",
            "outcome",
            of(&[
                ("ended", Event::ConversationEnded),
                ("idle", Event::ConversationIdle),
                ("slow_line", Event::LineTooSlow),
                ("slow_reader", Event::ReaderTooSlow),
                ("failed", Event::ConversationFailed),
                ("cut", Event::ConversationCut),
                ("panicked", Event::ConversationPanicked),
            ]),
        ),
        (
            "chime_connections_refused_total counter Connections that were not welcomed, by why.",
            "reason",
            of(&[
                ("full", Event::ConnectionRefused),
                ("address", Event::AddressRefused),
                ("network", Event::NetworkDenied),
                ("header", Event::HeaderRejected),
            ]),
        ),
        (
            "chime_requests_total counter Requests over TCP, by command.",
            "command",
            commands.chain(others).collect(),
        ),
        (
            "chime_datagrams_total counter Datagrams received, by what came of them.",
            "result",
            of(&[
                ("answered", Event::DatagramAnswered),
                ("ignored", Event::DatagramIgnored),
                ("limited", Event::DatagramLimited),
            ]),
        ),
        (
            "chime_received_bytes_total counter Bytes received over TCP.",
            "",
            of(&[("", Event::ByteReceived)]),
        ),
        (
            "chime_sent_bytes_total counter Bytes sent over TCP.",
            "",
            of(&[("", Event::ByteSent)]),
        ),
        (
            "chime_accept_errors_total counter Times that no connection could be accepted for a while.",
            "",
            of(&[("", Event::AcceptFailed)]),
        ),
        (
            "chime_log_lines_dropped_total counter Lines of the log that could not be written.",
            "",
            vec![("", logs::dropped())],
        ),
        (
            "chime_connections_open gauge Connections that were welcomed and have not ended.",
            "",
            vec![("", open)],
        ),
        (
            "chime_build_info gauge The version of the server.",
            "version",
            vec![(env!("CARGO_PKG_VERSION"), 1)],
        ),
    ];
    let mut text = String::new();
    for (head, label, samples) in families {
        write_family(&mut text, head, label, &samples).expect("a string takes all text");
    }
    text
}

/// Writes a metric: its name, kind and help are the words of `head`.
fn write_family(
    text: &mut String,
    head: &str,
    label: &str,
    samples: &[(&str, u64)],
) -> std::fmt::Result {
    let mut words = head.splitn(3, ' ');
    let [name, kind, help] = [(); 3].map(|()| words.next().unwrap_or_default());
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for (value, count) in samples {
        match label {
            "" => writeln!(text, "{name} {count}")?,
            _ => writeln!(text, "{name}{{{label}=\"{value}\"}} {count}")?,
        }
    }
    Ok(())
}
