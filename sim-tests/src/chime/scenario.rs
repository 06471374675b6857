//! The data of a scenario that is chime's own: the settings of the server, and what clients do.

use arbitrary::Arbitrary;
use chime_protocol::{Command, Framing, Service};
use serde::{Deserialize, Deserializer, Serialize};
use strum::VariantNames;

use super::generate;
use crate::scenario::json::{by_name, is_default, within};
use crate::scenario::{Text, one_in, range};

const DAY_MS: i64 = 24 * 3_600_000;

/// A limit that no run reaches.
const NEVER_MS: u32 = DAY_MS as u32;

/// The settings of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The commands that it offers over TCP.
    #[arbitrary(with = generate::service)]
    #[serde(with = "by_name")]
    pub service: Service,
    /// Where a command ends over TCP. With `read`, streams are neither cut nor glued.
    #[arbitrary(with = generate::framing)]
    #[serde(with = "by_name")]
    pub framing: Framing,
    /// The maximum number of concurrent connections.
    #[arbitrary(with = one_in(4, 1..=3, 1_000..=1_000))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub connections_max: usize,
    /// The idle timeout.
    #[arbitrary(with = range(200..=2_000))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub idle_timeout_ms: u32,
    /// The line timeout, without the extra time per byte.
    #[arbitrary(with = one_in(3, 100..=1_000, NEVER_MS..=NEVER_MS))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub line_timeout_ms: u32,
    /// The write timeout.
    #[arbitrary(with = one_in(3, 100..=1_000, NEVER_MS..=NEVER_MS))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub write_timeout_ms: u32,
    /// The drain timeout.
    #[arbitrary(with = one_in(2, 20..=200, 500..=3_000))]
    #[serde(deserialize_with = "within::<0, DAY_MS, _, _>")]
    pub drain_timeout_ms: u32,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            service: Service::Both,
            framing: Framing::Line,
            connections_max: 10_000,
            idle_timeout_ms: 2_000,
            line_timeout_ms: NEVER_MS,
            write_timeout_ms: NEVER_MS,
            drain_timeout_ms: 2_000,
        }
    }
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Behaviour {
    /// Sends a line at a time with [`chime_client::Connection`], and connects again when that fails.
    Ask {
        /// The lines, without line ends.
        #[serde(deserialize_with = "lines")]
        lines: Vec<String>,
        /// The pause before each line but the first, and before connecting again.
        #[serde(
            default,
            skip_serializing_if = "is_default",
            deserialize_with = "pause"
        )]
        pause_ms: u32,
        /// The timeout of the library.
        #[serde(default, skip_serializing_if = "is_default")]
        timeout_ms: Timeout,
    },
    /// Sends without waiting for replies, with [`chime_client::Pipe`].
    Pipe {
        /// The input of the pipe.
        chunks: Vec<Text>,
        /// The pause before each chunk but the first.
        #[serde(
            default,
            skip_serializing_if = "is_default",
            deserialize_with = "pause"
        )]
        pause_ms: u32,
        /// The timeout of the library.
        #[serde(default, skip_serializing_if = "is_default")]
        timeout_ms: Timeout,
    },
    /// Sends each of these time commands with [`chime_client::ask_datagram`].
    AskDatagrams {
        /// The commands.
        #[serde(deserialize_with = "time_commands")]
        commands: Vec<String>,
        /// The pause before each but the first.
        #[serde(
            default,
            skip_serializing_if = "is_default",
            deserialize_with = "pause"
        )]
        pause_ms: u32,
        /// The timeout of the library.
        #[serde(default, skip_serializing_if = "is_default")]
        timeout_ms: Timeout,
    },
    /// Writes bytes to a connection.
    Write {
        /// What it does, in order.
        acts: Vec<Act>,
        /// How it reads the replies meanwhile.
        #[serde(default, skip_serializing_if = "is_default")]
        reading: Reading,
        /// What it does at the end.
        #[serde(default, skip_serializing_if = "is_default")]
        ending: Ending,
    },
    /// Sends datagrams.
    WriteDatagrams {
        /// The datagrams.
        datagrams: Vec<Text>,
        /// Their source address.
        #[serde(default, skip_serializing_if = "is_default")]
        source: Source,
        /// The pause before each but the first.
        #[serde(
            default,
            skip_serializing_if = "is_default",
            deserialize_with = "pause"
        )]
        pause_ms: u32,
    },
}

impl Behaviour {
    /// The timeout of the client library, if this behaviour uses it.
    pub(super) fn timeout(&self) -> Option<Timeout> {
        match self {
            Behaviour::Ask { timeout_ms, .. }
            | Behaviour::Pipe { timeout_ms, .. }
            | Behaviour::AskDatagrams { timeout_ms, .. } => Some(*timeout_ms),
            Behaviour::Write { .. } | Behaviour::WriteDatagrams { .. } => None,
        }
    }
}

/// A timeout of the client library in milliseconds, from 1 to a minute.
///
/// The default is longer than any wait on a network without faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout(#[serde(deserialize_with = "within::<1, 60_000, _, _>")] pub u32);

impl Default for Timeout {
    fn default() -> Timeout {
        Timeout(3_000)
    }
}

/// An action of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Writes these bytes.
    Write(Text),
    /// Waits, in milliseconds.
    Pause(#[serde(deserialize_with = "pause")] u32),
    /// Half-closes the connection.
    Shut,
}

/// How a client reads replies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reading {
    /// At once.
    #[default]
    Eager,
    /// As a slow reader.
    Slow {
        /// The length of each read.
        bytes: usize,
        /// The pause before each read.
        pause_ms: u32,
    },
    /// Not at all.
    Never,
}

/// What a client does at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It reads to EOF.
    #[default]
    Await,
    /// It drops the connection without reading on.
    Leave,
    /// It holds the connection without using it: neither EOF nor reset follows.
    Forget,
}

/// The source address of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The address of its sender.
    #[default]
    Sender,
    /// The address of the server.
    Server,
    /// A port of the sender without a socket.
    Nobody,
    /// A port of the sender below 1024, as services have.
    Service,
}

/// Reads a pause of at most a minute: a run is stuck after ten.
fn pause<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within::<0, 60_000, _, _>(deserializer)
}

/// Reads lines for the client library, which appends the line ends.
fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(deserializer, "a line must not contain a line end", |line| {
        !line.contains('\n')
    })
}

fn time_commands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(
        deserializer,
        "must be a time command: day, date, time or send time",
        |name| Command::time_commands().any(|command| command.name() == name),
    )
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    message: &str,
    is_valid: impl Fn(&str) -> bool,
) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    match texts.iter().position(|text| !is_valid(text)) {
        None => Ok(texts),
        Some(index) => Err(serde::de::Error::custom(format!("[{index}]: {message}"))),
    }
}
