//! What the server, the clients and the network of a run share.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use chrono::{NaiveDateTime, TimeDelta};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::streams::Connections;
use crate::Protocol;
use crate::scenario::{Network, Scenario};
use crate::trace::{Event, EventKind, ServerEvent, Trace};

/// What the parts of a run share.
pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) chance: Chance,
    pub(crate) server: ServerState,
    pub(crate) clients: Clients,
    pub(crate) connections: Connections,
    datagram_count: Cell<usize>,
    trace: RefCell<Trace>,
}

impl World {
    pub(crate) fn new<P: Protocol>(scenario: &Scenario<P>) -> World {
        World {
            time: Time {
                now_ms: Cell::new(0),
                clock_at_start: scenario.clock,
                clock_step: Cell::default(),
            },
            chance: Chance {
                network: Cell::new(scenario.network),
                rng: RefCell::new(ChaCha8Rng::seed_from_u64(scenario.rng_seed)),
            },
            server: ServerState::default(),
            clients: Clients::default(),
            connections: Connections::default(),
            datagram_count: Cell::new(0),
            trace: RefCell::default(),
        }
    }

    /// Adds an event to the trace.
    pub(crate) fn record(&self, kind: EventKind) {
        let at_ms = self.time.now_ms();
        self.trace.borrow_mut().events.push(Event { at_ms, kind });
    }

    pub(crate) fn take_trace(&self) -> Trace {
        self.trace.take()
    }

    pub(crate) fn next_datagram(&self) -> usize {
        self.datagram_count.replace(self.datagram_count.get() + 1)
    }

    pub(crate) fn heal(&self) {
        self.chance.heal();
        self.record(EventKind::Healed);
    }

    /// Starts the graceful shutdown of the server, if it is up.
    pub(crate) fn shut_server_down(&self) {
        let shutdown = self.server.shutdown.borrow();
        if self.server.is_up.get() && !shutdown.is_cancelled() {
            self.record(EventKind::Server(ServerEvent::Stopping));
            shutdown.cancel();
        }
    }

    /// Records the end of a server that is still up.
    pub(crate) fn record_kill(&self) {
        if self.server.is_up.replace(false) {
            self.record(EventKind::Server(ServerEvent::Killed));
        }
    }
}

thread_local! {
    /// The server's wall clock now. It is not in [`World`] because a clock may be a function without arguments.
    static WALL_CLOCK: Cell<NaiveDateTime> = const { Cell::new(NaiveDateTime::MIN) };
}

/// The server's wall clock in the run on this thread.
pub fn wall_clock() -> NaiveDateTime {
    WALL_CLOCK.get()
}

/// The time of a run.
pub(crate) struct Time {
    now_ms: Cell<u32>,
    clock_at_start: NaiveDateTime,
    clock_step: Cell<TimeDelta>,
}

impl Time {
    /// The milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u32 {
        self.now_ms.get()
    }

    /// Lets a millisecond pass.
    pub(crate) fn tick(&self) {
        self.now_ms.update(|now| now + 1);
        self.step_clock(TimeDelta::zero());
    }

    /// Sets the wall clock forward or back.
    pub(crate) fn step_clock(&self, by: TimeDelta) {
        self.clock_step.update(|step| step + by);
        let passed = TimeDelta::milliseconds(self.now_ms().into()) + self.clock_step.get();
        WALL_CLOCK.set(self.clock_at_start + passed);
    }
}

/// The random decisions of the network.
pub(crate) struct Chance {
    network: Cell<Network>,
    rng: RefCell<ChaCha8Rng>,
}

impl Chance {
    /// The network as it is now.
    pub(crate) fn network(&self) -> Network {
        self.network.get()
    }

    fn heal(&self) {
        self.network.update(|network| Network {
            window_bytes: network.window_bytes,
            datagrams_max: network.datagrams_max,
            ..Network::default()
        });
    }

    /// Decides whether something happens that has this percentage.
    pub(crate) fn happens(&self, percent: impl Fn(&Network) -> u8) -> bool {
        let percent = percent(&self.network()).into();
        percent > 0 && self.below(100) < percent
    }

    /// A random number from 0 to `end - 1`.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.rng.borrow_mut().random_range(0..end)
    }
}

/// The server that runs now.
#[derive(Default)]
pub(crate) struct ServerState {
    pub(crate) is_up: Cell<bool>,
    pub(crate) shutdown: RefCell<CancellationToken>,
    /// The number of connections that it holds.
    pub(crate) stream_count: Cell<usize>,
    /// Whether a read returns exactly what one write has sent.
    pub(crate) keeps_writes: Cell<bool>,
}

/// The clients of all hosts.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) working: RefCell<BTreeSet<usize>>,
    /// Connections that clients hold to the end of the run without using them.
    pub(crate) forgotten: RefCell<Vec<Box<dyn Any>>>,
}
