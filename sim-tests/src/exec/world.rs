//! What the server, the clients and the network of a run share.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use chrono::{NaiveDateTime, TimeDelta};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::task::coop;
use tokio_util::sync::CancellationToken;

use super::streams::Connections;
use crate::Protocol;
use crate::scenario::{Network, Scenario};
use crate::trace::{Event, EventKind, Gauges, ServerEvent, Trace};

/// What the parts of a run share.
pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) chance: Chance,
    pub(crate) server: ServerState,
    pub(crate) clients: Clients,
    pub(crate) connections: Connections,
    /// The source and the destination of each datagram.
    datagrams: RefCell<Vec<(SocketAddr, SocketAddr)>>,
    trace: RefCell<Trace>,
}

impl World {
    pub(crate) fn new<P: Protocol>(scenario: &Scenario<P>) -> World {
        World {
            time: Time {
                now_ms: Cell::new(0),
                clock_at_start: scenario.clock,
                clock_step: Cell::default(),
                wall_clock: Arc::new(Mutex::new(scenario.clock)),
            },
            chance: Chance {
                network: Cell::new(scenario.network),
                rng: RefCell::new(ChaCha8Rng::seed_from_u64(scenario.rng_seed)),
            },
            server: ServerState::default(),
            clients: Clients::default(),
            connections: Connections::default(),
            datagrams: RefCell::default(),
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

    /// Returns the number of a new datagram.
    pub(crate) fn add_datagram(&self, from: SocketAddr, to: SocketAddr) -> usize {
        let mut datagrams = self.datagrams.borrow_mut();
        datagrams.push((from, to));
        datagrams.len() - 1
    }

    /// Returns the source and the destination of a datagram.
    pub(crate) fn datagram(&self, number: usize) -> (SocketAddr, SocketAddr) {
        self.datagrams.borrow()[number]
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

    /// Records the gauges of the server if they have changed.
    pub(crate) fn record_gauges(&self) {
        let server = &self.server;
        let gauges = server.gauges.borrow().as_ref().map(|gauges| gauges());
        if let Some(gauges) = gauges.filter(|_| server.is_up.get())
            && *server.last_gauges.borrow() != gauges
        {
            server.last_gauges.replace(gauges.clone());
            self.record(EventKind::Server(ServerEvent::Gauges(gauges)));
        }
    }

    /// Records the end of a server that is still up.
    pub(crate) fn record_kill(&self) {
        if self.server.is_up.replace(false) {
            self.record(EventKind::Server(ServerEvent::Killed));
        }
    }
}

/// The time of a run.
pub(crate) struct Time {
    now_ms: Cell<u32>,
    clock_at_start: NaiveDateTime,
    clock_step: Cell<TimeDelta>,
    /// The wall clock of the server now, for a function that may be called by any thread.
    wall_clock: Arc<Mutex<NaiveDateTime>>,
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
        *self.wall_clock.lock().expect("not poisoned") = self.clock_at_start + passed;
    }

    /// Returns the function that reads the wall clock.
    pub(crate) fn wall_clock(&self) -> impl Fn() -> NaiveDateTime + Send + Sync + 'static {
        let now = Arc::clone(&self.wall_clock);
        move || *now.lock().expect("not poisoned")
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

    /// Charges budget. It is sometimes pending without a reason, so that other tasks run first.
    pub(crate) async fn let_others_run(&self) {
        let mut is_pending = self.happens(|network| network.pending_percent);
        poll_fn(|cx| poll_budget(cx, mem::take(&mut is_pending))).await;
    }

    /// A random number from 0 to `end - 1`.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.rng.borrow_mut().random_range(0..end)
    }
}

/// Like a socket of tokio: every operation costs budget, and is pending without it. This one uses it up if
/// `is_pending`.
pub(crate) fn poll_budget(cx: &mut Context<'_>, is_pending: bool) -> Poll<()> {
    for _ in 0..if is_pending { u8::MAX } else { 1 } {
        ready!(coop::poll_proceed(cx)).made_progress();
    }
    Poll::Ready(())
}

/// The server that runs now.
#[derive(Default)]
pub(crate) struct ServerState {
    pub(crate) is_up: Cell<bool>,
    pub(crate) shutdown: RefCell<CancellationToken>,
    /// The number of connections that it holds.
    pub(crate) stream_count: Cell<usize>,
    /// Reads the gauges of the server.
    pub(crate) gauges: RefCell<Option<Box<dyn Fn() -> Gauges>>>,
    /// What they were when they last changed.
    last_gauges: RefCell<Gauges>,
    /// The tasks of the server wait here while its process is frozen.
    frozen: RefCell<Option<Vec<Waker>>>,
}

impl ServerState {
    /// Whether the process of the server is frozen: its tasks do not run, whatever happens meanwhile.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.borrow().is_some()
    }

    pub(crate) fn freeze(&self) {
        self.frozen.borrow_mut().get_or_insert_default();
    }

    pub(crate) fn thaw(&self) {
        let wakers = self.frozen.take();
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Waits for the end of a freeze.
    pub(crate) fn poll_thawed<T>(&self, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(wakers) = &mut *self.frozen.borrow_mut() {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The clients of all hosts.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) working: RefCell<BTreeSet<usize>>,
    /// The address of each host, in order.
    pub(crate) addresses: RefCell<Vec<IpAddr>>,
    /// Connections that clients hold to the end of the run without using them.
    pub(crate) forgotten: RefCell<Vec<Box<dyn Any>>>,
}
