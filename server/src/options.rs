//! The configuration of a server.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chrono::NaiveDateTime;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::{Addresses, Networks, RateLimit};

/// A clock for replies. Clones read the same one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> NaiveDateTime + Send + Sync>);

impl Clock {
    /// Creates a clock from a function that returns the date and time now. Every worker calls it.
    pub fn new(now: impl Fn() -> NaiveDateTime + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    pub(crate) fn now(&self) -> NaiveDateTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").finish_non_exhaustive()
    }
}

/// The configuration of one TCP listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerConfig {
    /// The commands offered.
    pub service: Service,
    /// Where a command ends.
    pub framing: Framing,
    /// The networks of trusted proxies. If set, each connection must come from one of them and begin with
    /// a PROXY header, version 1 or 2.
    pub proxies: Option<Arc<[IpNet]>>,
}

/// The default maximum of concurrent connections that are being refused.
const REFUSALS_MAX: usize = 1024;

/// The clock and the limits of a server. Clones share the limits that are counted.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clock for replies. Deadlines use tokio's clock.
    pub clock: Clock,
    /// A permit for each connection that is served. Without a free one, a client gets the full notice.
    pub connections: Arc<Semaphore>,
    /// A permit for each connection that is being refused. Without a free one, clients wait in the backlog.
    pub refusals: Arc<Semaphore>,
    /// The limit on connections per address; `None` is no limit.
    pub addresses: Option<Arc<Addresses>>,
    /// The networks of the clients that are served.
    pub networks: Networks,
    /// The rate limit on UDP replies; `None` is no limit.
    pub datagram_rate: Option<Arc<RateLimit>>,
    /// A connection is closed after this time without a byte read or written.
    pub idle_timeout: Duration,
    /// A connection is closed if a line does not end within this time, plus 1 s per 500 bytes of it.
    pub line_timeout: Duration,
    /// A connection is closed if its client reads no reply for this time, plus 1 s per 2,000 bytes written
    /// (at most 66 s): the client's kernel may hold them.
    pub write_timeout: Duration,
    /// Connections still open this long after the start of the shutdown are cut.
    pub drain_timeout: Duration,
}

impl Options {
    /// Returns the default limits, with at most `connections_max` concurrent connections. `clock` returns the date and
    /// time now, as for [`Clock::new`].
    pub fn new(
        clock: impl Fn() -> NaiveDateTime + Send + Sync + 'static,
        connections_max: NonZero<u32>,
    ) -> Options {
        Options {
            clock: Clock::new(clock),
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
