//! What is to be simulated, as a value.

mod by_name;
mod text;

use std::fmt;

use chime_protocol::model::Script;
use chime_protocol::{Framing, Service};
use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use text::Text;

/// A simulation before it is run: one server, some hosts with clients, a network and what goes wrong.
///
/// As JSON it can be kept, read and written by hand; what is left out is as by default. Times are in
/// milliseconds since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Decides what the percentages of the network leave open.
    pub seed: u64,
    /// The server.
    pub server: Server,
    /// The network between the server and each host.
    pub network: Network,
    /// The clients. Clients of the same host share its link to the server.
    pub clients: Vec<Client>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// When all heals: faults end, and the network does nothing any more that it need not do.
    pub heal_ms: u32,
}

impl Default for Scenario {
    /// One server on a network that does nothing wrong, and no clients.
    fn default() -> Scenario {
        Scenario {
            seed: 0,
            server: Server::default(),
            network: Network::default(),
            clients: Vec::new(),
            faults: Vec::new(),
            heal_ms: 0,
        }
    }
}

impl Scenario {
    /// How many hosts there are besides the server's. Time for them grows with the cube of it: many
    /// clients share a host.
    pub fn host_count(&self) -> usize {
        let of_clients = self.clients.iter().map(|client| client.host);
        let of_faults = self.faults.iter().filter_map(|fault| fault.kind.host());
        of_clients.chain(of_faults).max().map_or(1, |host| host + 1)
    }
}

impl fmt::Display for Scenario {
    /// Writes JSON, without what is as by default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mut scenario, default] = [self, &Scenario::default()]
            .map(|scenario| serde_json::to_value(scenario).expect("a scenario is plain data"));
        leave_out(&mut scenario, &default);
        write!(f, "{scenario:#}")
    }
}

/// Leaves out of an object what is as in another.
fn leave_out(value: &mut Value, default: &Value) {
    if let (Value::Object(fields), Value::Object(defaults)) = (value, default) {
        fields.retain(|name, field| defaults.get(name) != Some(field));
        for (name, field) in fields {
            leave_out(field, &defaults[name]);
        }
    }
}

/// A limit that no simulation reaches.
const NEVER_MS: u32 = 24 * 3_600_000;

/// The server of a simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Which commands it offers over TCP.
    #[serde(with = "by_name")]
    pub service: Service,
    /// Where commands end over TCP.
    #[serde(with = "by_name")]
    pub framing: Framing,
    /// What its clock shows at the start.
    pub clock: NaiveDateTime,
    /// How many connections it serves at a time.
    pub connections_max: usize,
    /// How long a connection may be idle.
    pub idle_timeout_ms: u32,
    /// How long a line may take, beside a second for each 500 bytes of it.
    pub line_timeout_ms: u32,
    /// How long a client may take no byte of a reply.
    pub write_timeout_ms: u32,
    /// How long the conversations may go on after an order to stop.
    pub drain_timeout_ms: u32,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            service: Service::Both,
            framing: Framing::Line,
            clock: Script::clock_at_start(),
            connections_max: 10_000,
            idle_timeout_ms: 2_000,
            line_timeout_ms: NEVER_MS,
            write_timeout_ms: NEVER_MS,
            drain_timeout_ms: 2_000,
        }
    }
}

/// What the network does all the time until it heals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// The least time that a message takes.
    pub latency_min_ms: u32,
    /// The most time that a message takes. Datagrams overtake each other within the range.
    pub latency_max_ms: u32,
    /// How many bytes each direction of a stream holds before its writer has to wait; at least 1.
    pub window_bytes: usize,
    /// Percentage of reads and writes that move only a few of the bytes they could. With the framing
    /// `read`, where one write is one command, this is left out.
    pub cut_percent: u8,
    /// Percentage of reads that take what several writes sent. Left out with the framing `read`.
    pub glue_percent: u8,
    /// Percentage of reads and writes that have to be tried again for no reason.
    pub pending_percent: u8,
    /// Percentage of reads and writes that fail, and the stream with them.
    pub stream_error_percent: u8,
    /// Percentage of the server's waits for a connection that fail.
    pub accept_error_percent: u8,
    /// Percentage of datagrams that get lost.
    pub loss_percent: u8,
    /// Percentage of datagrams that arrive twice.
    pub duplication_percent: u8,
    /// Percentage of datagrams that arrive changed.
    pub corruption_percent: u8,
    /// Percentage of the server's waits for a datagram that fail.
    pub datagram_error_percent: u8,
    /// How many datagrams a socket holds; what comes when it is full gets lost.
    pub datagrams_max: usize,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            latency_min_ms: 1,
            latency_max_ms: 1,
            window_bytes: 65_536,
            cut_percent: 0,
            glue_percent: 0,
            pending_percent: 0,
            stream_error_percent: 0,
            accept_error_percent: 0,
            loss_percent: 0,
            duplication_percent: 0,
            corruption_percent: 0,
            datagram_error_percent: 0,
            datagrams_max: 1_000,
        }
    }
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The host it is on.
    pub host: usize,
    /// When it starts.
    pub start_ms: u32,
    /// What it does.
    pub behaviour: Behaviour,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Behaviour {
    /// Asks a line at a time with [`chime_client::Connection`], and connects anew when that fails.
    Ask {
        /// The lines, without their ends.
        lines: Vec<String>,
        /// The wait before each line but the first, and before connecting anew.
        pause_ms: u32,
    },
    /// Sends ahead of the replies with [`chime_client::Pipe`].
    Pipe {
        /// What its input gives.
        chunks: Vec<Text>,
        /// The wait before each chunk but the first.
        pause_ms: u32,
    },
    /// Asks for each of these commands with [`chime_client::ask_datagram`].
    AskDatagrams {
        /// The commands.
        commands: Vec<String>,
        /// The wait before each but the first.
        pause_ms: u32,
    },
    /// Writes bytes as they stand.
    Write {
        /// What it does, in order.
        acts: Vec<Act>,
        /// How it takes the replies meanwhile.
        reading: Reading,
        /// What it does then.
        ending: Ending,
    },
    /// Sends datagrams as they stand.
    WriteDatagrams {
        /// The datagrams.
        datagrams: Vec<Text>,
        /// Whom they claim to be from.
        source: Source,
        /// The wait before each but the first.
        pause_ms: u32,
    },
}

/// One thing that a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Writes these bytes.
    Write(Text),
    /// Waits so many milliseconds.
    Pause(u32),
    /// Stops sending.
    Shut,
}

/// How a client takes what it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reading {
    /// At once.
    Eager,
    /// A little at a time.
    Slow {
        /// So many bytes.
        bytes: usize,
        /// After each wait of so many milliseconds.
        pause_ms: u32,
    },
    /// Not at all.
    Never,
}

/// What a client does at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It waits until the server closes.
    Await,
    /// It drops the connection, read or not.
    Leave,
    /// It falls silent without a word to anyone.
    Forget,
}

/// Whom a datagram claims to be from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Who sent it.
    Sender,
    /// The server itself.
    Server,
    /// A port of the sender where no one listens.
    Nobody,
    /// A port of the sender that only a service has.
    Service,
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at_ms: u32,
    /// How long it lasts. It ends when all heals, at the latest.
    pub for_ms: u32,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FaultKind {
    /// Messages between the server and this host wait.
    Hold {
        /// The host.
        host: usize,
    },
    /// Messages between the server and this host get lost.
    Partition {
        /// The host.
        host: usize,
    },
    /// Messages from this host to the server get lost.
    PartitionToServer {
        /// The host.
        host: usize,
    },
    /// Messages from the server to this host get lost.
    PartitionFromServer {
        /// The host.
        host: usize,
    },
    /// Messages between the server and this host take this long.
    Slow {
        /// The host.
        host: usize,
        /// How long, both ways.
        latency_ms: u32,
    },
    /// The server is killed, and started again at the end.
    Crash,
    /// The server is told to stop, and started again at the end.
    Stop,
    /// The clock of the server is set forward, or back, for good.
    ClockStep {
        /// By so many seconds.
        seconds: i64,
    },
}

impl FaultKind {
    /// The host whose link it strikes, if it strikes one.
    pub fn host(&self) -> Option<usize> {
        match *self {
            FaultKind::Hold { host }
            | FaultKind::Partition { host }
            | FaultKind::PartitionToServer { host }
            | FaultKind::PartitionFromServer { host }
            | FaultKind::Slow { host, .. } => Some(host),
            FaultKind::Crash | FaultKind::Stop | FaultKind::ClockStep { .. } => None,
        }
    }

    /// Its name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Hold { .. } => "hold",
            FaultKind::Partition { .. } => "partition",
            FaultKind::PartitionToServer { .. } => "partition-to-server",
            FaultKind::PartitionFromServer { .. } => "partition-from-server",
            FaultKind::Slow { .. } => "slow",
            FaultKind::Crash => "crash",
            FaultKind::Stop => "stop",
            FaultKind::ClockStep { .. } => "clock-step",
        }
    }
}
