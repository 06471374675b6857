//! What a server offers, and its limits.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chrono::NaiveDateTime;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::{Addresses, Networks, RateLimit};

/// Tells the time that replies show.
pub type Clock = fn() -> NaiveDateTime;

/// What is offered over one TCP listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerConfig {
    /// Which commands are offered.
    pub service: Service,
    /// Where commands end.
    pub framing: Framing,
    /// The networks of trusted proxies, if each connection has to begin with a header of the PROXY
    /// protocol, version 1 or 2.
    pub proxies: Option<Arc<[IpNet]>>,
}

/// Clients that are being told at one time that the server is full.
const REFUSALS_MAX: usize = 1024;

/// The clock and the limits of a server. Clones share the limits that are counted.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock of the replies. Deadlines do not depend on it.
    pub clock: Clock,
    /// A permit for each connection served at a time. A client for whom there is none is told that the
    /// server is full.
    pub connections: Arc<Semaphore>,
    /// A permit for each client that is being told so. Others wait in the backlog.
    pub refusals: Arc<Semaphore>,
    /// How many of the connections an address may have, if that is limited.
    pub addresses: Option<Arc<Addresses>>,
    /// Who is served.
    pub networks: Networks,
    /// How many datagrams a network may have answered, if that is limited.
    pub datagram_rate: Option<Arc<RateLimit>>,
    /// A connection on which no byte moved for this long is closed.
    pub idle_timeout: Duration,
    /// A line has to end within this time, and 1 s more for each 500 bytes of it.
    pub line_timeout: Duration,
    /// A connection is closed whose client reads no reply for this long, and 1 s more for each 2,000 bytes
    /// written to it, at most 66 s: its kernel may hold them.
    pub write_timeout: Duration,
    /// Connections that are still open this long after the stop are cut.
    pub drain_timeout: Duration,
}

impl Options {
    /// Serves so many connections at one time, with the usual limits.
    pub fn new(clock: Clock, connections_max: NonZero<u32>) -> Options {
        Options {
            clock,
            connections: Arc::new(Semaphore::new(connections_max.get() as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            addresses: None,
            networks: Networks::default(),
            datagram_rate: None,
            idle_timeout: Duration::from_secs(300),
            line_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
