//! The input of one simulated run, as plain data.

mod generate;
pub mod json;
mod shrink;
mod text;

use std::fmt;

use arbitrary::Arbitrary;
use chrono::{NaiveDate, NaiveDateTime};
use derive_more::Display;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{IntoStaticStr, VariantNames};

use crate::Protocol;
use json::within;

pub use generate::{CROWD, list, one_in, percent, range};
pub use shrink::{Scenarios, Shrinking, shrink, shrink_candidates};
pub use text::Text;

/// The maximum number of hosts with clients. The time of a run grows with the cube of it: many clients share a host.
pub const HOSTS_MAX: usize = 20;

const HOST_MAX: i64 = HOSTS_MAX as i64 - 1;
const HOUR_MS: i64 = 3_600_000;
/// With more, the timeouts of clients end before a reply can arrive.
const LATENCY_MAX_MS: i64 = 500;
const YEAR_SECONDS: i64 = 366 * 86_400;

/// The input of one simulated run: a server, clients on some hosts, a network, and faults.
///
/// A scenario is kept, read and edited as JSON, which leaves out what has its default. Times are in milliseconds since
/// the start. [`chime::Scenario`](crate::chime::Scenario) shows the JSON of each field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "", default, deny_unknown_fields)]
pub struct Scenario<P: Protocol> {
    /// The seed of the random numbers that decide what the percentages of the network leave open.
    pub rng_seed: u64,
    /// The server's wall clock at the start.
    #[serde(deserialize_with = "json::clock")]
    pub clock: NaiveDateTime,
    /// The settings of the server.
    pub server: P::Server,
    /// The network between the server and each host.
    pub network: Network,
    /// The clients. Clients of the same host share its link to the server.
    pub clients: Vec<Client<P::Behaviour>>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// When the network heals: faults end, and the percentages become 0. At most an hour.
    #[serde(deserialize_with = "within::<0, HOUR_MS, _, _>")]
    pub heal_ms: u32,
    /// What the run must show: texts in lines of its trace, in this order. They make a scenario written by hand a test.
    pub expect: Vec<String>,
}

impl<P: Protocol> Default for Scenario<P> {
    /// A server on a network without faults, and no clients.
    fn default() -> Scenario<P> {
        let date = NaiveDate::from_ymd_opt(2026, 11, 21).expect("the date exists");
        Scenario {
            rng_seed: 0,
            clock: date
                .and_hms_micro_opt(6, 32, 6, 123_456)
                .expect("the time exists"),
            server: P::Server::default(),
            network: Network::default(),
            clients: Vec::new(),
            faults: Vec::new(),
            heal_ms: 0,
            expect: Vec::new(),
        }
    }
}

impl<P: Protocol> Scenario<P> {
    /// The number of hosts besides the server's, at least 1.
    pub fn host_count(&self) -> usize {
        let of_clients = self.clients.iter().map(|client| client.host);
        let of_faults = self.faults.iter().filter_map(|fault| fault.kind.host());
        of_clients.chain(of_faults).max().map_or(1, |host| host + 1)
    }

    /// Parses JSON.
    ///
    /// # Errors
    ///
    /// An error names the path of the value that is not valid: `clients[0].host: must be at most 19`.
    pub fn from_json(text: &[u8]) -> Result<Scenario<P>, String> {
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err("expected a JSON object".into());
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let scenario = serde_path_to_error::deserialize(&mut deserializer);
        let scenario = scenario.map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(scenario)
    }
}

impl<P: Protocol> fmt::Display for Scenario<P> {
    /// Writes JSON without what has its default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mut scenario, default] = [self, &Scenario::default()]
            .map(|scenario| serde_json::to_value(scenario).expect("a scenario is plain data"));
        leave_out(&mut scenario, &default);
        write!(f, "{scenario:#}")
    }
}

impl<P: Protocol> fmt::Debug for Scenario<P> {
    /// Writes the JSON, too: test failures and fuzzers show a scenario as it can be replayed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Leaves out of an object what equals `default`.
fn leave_out(value: &mut Value, default: &Value) {
    if let (Value::Object(fields), Value::Object(defaults)) = (value, default) {
        fields.retain(|name, field| defaults.get(name) != Some(field));
        for (name, field) in fields {
            leave_out(field, &defaults[name]);
        }
    }
}

/// What the network does until it heals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Percentage of reads and writes that move only a few of the bytes that they could move.
    #[arbitrary(with = percent(5..=60))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub cut_percent: u8,
    /// Percentage of reads that return the bytes of several writes.
    #[arbitrary(with = percent(5..=60))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub glue_percent: u8,
    /// Percentage of operations on sockets that are pending once without a reason, so that other tasks run first.
    #[arbitrary(with = percent(5..=40))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub pending_percent: u8,
    /// Percentage of reads and writes that fail, and the stream with them.
    #[arbitrary(with = one_in(6, 1..=3, 0..=0))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub stream_error_percent: u8,
    /// Percentage of the server's accepts that fail.
    #[arbitrary(with = percent(5..=50))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub accept_error_percent: u8,
    /// Percentage of datagrams that are lost.
    #[arbitrary(with = percent(5..=60))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub loss_percent: u8,
    /// Percentage of datagrams that arrive twice.
    #[arbitrary(with = percent(5..=60))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub duplication_percent: u8,
    /// Percentage of datagrams that arrive corrupted.
    #[arbitrary(with = percent(5..=60))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub corruption_percent: u8,
    /// Percentage of the datagrams that the server cannot receive, or cannot send.
    #[arbitrary(with = percent(5..=50))]
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
    pub datagram_error_percent: u8,
    /// The minimum latency of a message.
    #[arbitrary(with = one_in(3, 0..=50, 0..=4))]
    #[serde(deserialize_with = "within::<0, LATENCY_MAX_MS, _, _>")]
    pub latency_min_ms: u32,
    /// The maximum latency of a message, if it is more than the minimum. Datagrams are reordered within the range.
    #[arbitrary(with = one_in(3, 0..=250, 0..=9))]
    #[serde(deserialize_with = "within::<0, LATENCY_MAX_MS, _, _>")]
    pub latency_max_ms: u32,
    /// The bytes that each direction of a stream holds before its writer has to wait; at least 1.
    #[arbitrary(with = one_in(2, 1..=499, 65_536..=65_536))]
    #[serde(deserialize_with = "within::<1, 1_000_000_000, _, _>")]
    pub window_bytes: usize,
    /// The number of datagrams that a socket holds. Those that find it full are lost.
    #[arbitrary(with = one_in(4, 1..=3, 1_000..=1_000))]
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub datagrams_max: usize,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            cut_percent: 0,
            glue_percent: 0,
            pending_percent: 0,
            stream_error_percent: 0,
            accept_error_percent: 0,
            loss_percent: 0,
            duplication_percent: 0,
            corruption_percent: 0,
            datagram_error_percent: 0,
            latency_min_ms: 1,
            latency_max_ms: 1,
            window_bytes: 65_536,
            datagrams_max: 1_000,
        }
    }
}

impl Network {
    /// The maximum latency of a message on a link without a fault.
    pub fn latency_max_ms(&self) -> u32 {
        self.latency_max_ms.max(self.latency_min_ms)
    }
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client<B> {
    /// Its host, counted from 0.
    #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
    pub host: usize,
    /// When it starts.
    #[serde(deserialize_with = "within::<0, HOUR_MS, _, _>")]
    pub start_ms: u32,
    /// What it does.
    pub behaviour: B,
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    #[serde(deserialize_with = "within::<0, HOUR_MS, _, _>")]
    pub at_ms: u32,
    /// How long it lasts. It ends when the network heals, at the latest.
    #[serde(deserialize_with = "within::<0, HOUR_MS, _, _>")]
    pub for_ms: u32,
    /// What it does.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Arbitrary,
    Display,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum FaultKind {
    /// Messages between the server and this host are held back.
    #[display("host {host}: hold")]
    Hold {
        /// The host.
        #[arbitrary(with = range(0..=1))]
        #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
        host: usize,
    },
    /// Messages between the server and this host are lost.
    #[display("host {host}: partition")]
    Partition {
        /// The host.
        #[arbitrary(with = range(0..=1))]
        #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
        host: usize,
    },
    /// Messages from this host to the server are lost.
    #[display("host {host}: partition-to-server")]
    PartitionToServer {
        /// The host.
        #[arbitrary(with = range(0..=1))]
        #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
        host: usize,
    },
    /// Messages from the server to this host are lost.
    #[display("host {host}: partition-from-server")]
    PartitionFromServer {
        /// The host.
        #[arbitrary(with = range(0..=1))]
        #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
        host: usize,
    },
    /// Messages between the server and this host have another latency.
    #[display("host {host}: slow ({latency_ms} ms)")]
    Slow {
        /// The host.
        #[arbitrary(with = range(0..=1))]
        #[serde(deserialize_with = "within::<0, HOST_MAX, _, _>")]
        host: usize,
        /// The latency, both ways.
        #[arbitrary(with = range(0..=500))]
        #[serde(deserialize_with = "within::<0, LATENCY_MAX_MS, _, _>")]
        latency_ms: u32,
    },
    /// The server is killed. A new one starts when the fault ends.
    #[display("crash")]
    Crash,
    /// The server shuts down gracefully. A new one starts when the fault ends; what is left of the old one is killed then.
    #[display("stop")]
    Stop,
    /// The process of the server does not run, as after SIGSTOP. What arrives meanwhile waits, and time passes.
    #[display("freeze")]
    Freeze,
    /// The server's wall clock is set forward or back. It stays so when the fault ends.
    #[display("clock-step ({seconds:+} s)")]
    ClockStep {
        /// By how many seconds, at most a year.
        #[arbitrary(with = generate::clock_step)]
        #[serde(deserialize_with = "within::<{ -YEAR_SECONDS }, YEAR_SECONDS, _, _>")]
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
            FaultKind::Crash
            | FaultKind::Stop
            | FaultKind::Freeze
            | FaultKind::ClockStep { .. } => None,
        }
    }

    /// Its name, as in JSON.
    pub fn name(&self) -> &'static str {
        self.into()
    }
}
