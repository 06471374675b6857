//! The data of a scenario that is chime's own: the settings of the server, and what clients do.

use std::net::IpAddr;

use arbitrary::Arbitrary;
use chime_protocol::{Command, Framing, Service};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use strum::VariantNames;

use super::generate;
use super::proxy::Header;
use crate::exec::SERVER_SOCKETS_MAX;
use crate::scenario::json::{by_name, is_default, within};
use crate::scenario::{Text, one_in};

const DAY_MS: i64 = 24 * 3_600_000;

/// A limit that no run reaches.
const NEVER_MS: u32 = DAY_MS as u32;

/// The settings of the server.
///
/// Each setting of the real server that changes its behaviour is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The number of workers. They share the sockets and the limits.
    #[arbitrary(with = one_in(3, 2..=4, 1..=1))]
    #[serde(deserialize_with = "within::<1, 64, _, _>")]
    pub workers: usize,
    /// The TCP listeners, at least one.
    #[arbitrary(with = generate::listeners)]
    #[serde(deserialize_with = "sockets")]
    pub listeners: Vec<Listener>,
    /// The UDP sockets, at least one.
    #[arbitrary(with = generate::udp_sockets)]
    #[serde(deserialize_with = "sockets")]
    pub udp_sockets: Vec<UdpSocket>,
    /// The maximum number of concurrent connections.
    #[arbitrary(with = one_in(4, 1..=3, 10_000..=10_000))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub connections_max: usize,
    /// The maximum number of concurrent connections that are being refused. Further ones wait.
    #[arbitrary(with = one_in(8, 1..=2, 1_024..=1_024))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub refusals_max: usize,
    /// The maximum number of concurrent connections of an address.
    #[arbitrary(with = one_in(4, 1..=3, 10_000..=10_000))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub address_connections_max: u32,
    /// The networks of clients that are served. If it is empty, all are.
    #[arbitrary(with = generate::networks)]
    pub allowed: Vec<IpNet>,
    /// The networks of clients that are not served.
    #[arbitrary(with = generate::networks)]
    pub denied: Vec<IpNet>,
    /// The maximum rate of replies to the datagrams of a network, per second.
    #[arbitrary(with = one_in(4, 1..=12, 10_000..=10_000))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub datagram_rate: u32,
    /// The idle timeout.
    #[arbitrary(with = one_in(4, 500..=2_000, 100..=500))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub idle_timeout_ms: u32,
    /// The line timeout, without the extra time per byte.
    #[arbitrary(with = one_in(3, 100..=1_000, NEVER_MS..=NEVER_MS))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub line_timeout_ms: u32,
    /// The write timeout.
    #[arbitrary(with = one_in(2, 100..=400, NEVER_MS..=NEVER_MS))]
    #[serde(deserialize_with = "within::<100, DAY_MS, _, _>")]
    pub write_timeout_ms: u32,
    /// The drain timeout.
    #[arbitrary(with = one_in(2, 0..=150, 200..=2_000))]
    #[serde(deserialize_with = "within::<0, DAY_MS, _, _>")]
    pub drain_timeout_ms: u32,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            workers: 1,
            listeners: vec![Listener::default()],
            udp_sockets: vec![UdpSocket::default()],
            connections_max: 10_000,
            refusals_max: 1_024,
            address_connections_max: 10_000,
            allowed: Vec::new(),
            denied: Vec::new(),
            datagram_rate: 10_000,
            idle_timeout_ms: 2_000,
            line_timeout_ms: NEVER_MS,
            write_timeout_ms: NEVER_MS,
            drain_timeout_ms: 2_000,
        }
    }
}

/// A TCP listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// The commands that it offers.
    #[arbitrary(with = generate::service)]
    #[serde(with = "by_name")]
    pub service: Service,
    /// Where a command ends. With `read`, streams are neither cut nor glued.
    #[arbitrary(with = generate::framing)]
    #[serde(with = "by_name")]
    pub framing: Framing,
    /// The networks of trusted proxies. If there are any, each connection has to begin with a PROXY header.
    #[arbitrary(with = generate::proxies)]
    pub proxies: Vec<IpNet>,
    /// Whether it sees addresses of version 4 as IPv4-mapped ones.
    pub is_dual_stack: bool,
}

/// A UDP socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct UdpSocket {
    /// Whether it receives what is sent to any address of the server.
    pub is_wildcard: bool,
    /// Whether it sees addresses of version 4 as IPv4-mapped ones.
    pub is_dual_stack: bool,
}

/// Where a client connects to, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Target {
    /// The number of the listener, modulo the number of listeners.
    #[serde(skip_serializing_if = "is_default")]
    pub listener: u8,
    /// The PROXY header that it sends first, if the listener expects one.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Option<Header>,
}

/// Where a client sends datagrams to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Destination {
    /// The number of the socket, modulo the number of sockets.
    #[serde(skip_serializing_if = "is_default")]
    pub socket: u8,
    /// The address.
    #[serde(skip_serializing_if = "is_default")]
    pub address: DestinationAddress,
}

/// An address of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum DestinationAddress {
    /// Its first address, which each socket has.
    #[default]
    Primary,
    /// Another address. Only wildcard sockets have it, and the ones below.
    Secondary,
    /// The broadcast address of its network.
    Broadcast,
    /// A multicast address.
    Multicast,
}

impl DestinationAddress {
    /// Whether it is neither a broadcast nor a multicast address.
    pub(super) fn is_unicast(self) -> bool {
        matches!(
            self,
            DestinationAddress::Primary | DestinationAddress::Secondary
        )
    }
}

impl Server {
    /// The listener of a target, and its number.
    pub(super) fn listener(&self, target: &Target) -> (u16, &Listener) {
        let number = usize::from(target.listener) % self.listeners.len();
        (number as u16, &self.listeners[number])
    }

    /// The socket of a destination, and its number.
    pub(super) fn udp_socket(&self, destination: Destination) -> (u16, UdpSocket) {
        let number = usize::from(destination.socket) % self.udp_sockets.len();
        (number as u16, self.udp_sockets[number])
    }
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Behaviour {
    /// Sends a line at a time with [`chime_client::Connection`], and connects again when that fails.
    Ask {
        /// Where it connects to.
        #[serde(default, skip_serializing_if = "is_default")]
        to: Target,
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
        /// Where it connects to.
        #[serde(default, skip_serializing_if = "is_default")]
        to: Target,
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
        /// Where it sends them to.
        #[serde(default, skip_serializing_if = "is_default")]
        to: Destination,
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
        /// Where it connects to.
        #[serde(default, skip_serializing_if = "is_default")]
        to: Target,
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
        /// Where it sends them to.
        #[serde(default, skip_serializing_if = "is_default")]
        to: Destination,
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

    /// Where it connects to, unless it sends datagrams.
    pub(super) fn target(&self) -> Option<&Target> {
        match self {
            Behaviour::Ask { to, .. }
            | Behaviour::Pipe { to, .. }
            | Behaviour::Write { to, .. } => Some(to),
            Behaviour::AskDatagrams { .. } | Behaviour::WriteDatagrams { .. } => None,
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
    /// An address that no client has.
    Elsewhere(IpAddr),
}

/// Reads a list of sockets: at least one, and at most [`SERVER_SOCKETS_MAX`].
fn sockets<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let sockets = Vec::deserialize(deserializer)?;
    match sockets.len() {
        1.. if sockets.len() <= SERVER_SOCKETS_MAX.into() => Ok(sockets),
        _ => Err(serde::de::Error::custom(format!(
            "must have between 1 and {SERVER_SOCKETS_MAX} entries"
        ))),
    }
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
