//! What everyone in a simulation shares: the time, the dice, and the record of what happens.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;

use chrono::{NaiveDateTime, TimeDelta};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::scenario::{Network, Scenario};
use crate::trace::{ClientEvent, End, Event, EventKind, ServerEvent, StreamEvent, Trace};

thread_local! {
    /// What the clock of the server shows: [`chime_server::Clock`] takes no argument.
    static CLOCK: Cell<NaiveDateTime> = const { Cell::new(NaiveDateTime::MIN) };
}

/// The clock of the server.
pub(crate) fn clock() -> NaiveDateTime {
    CLOCK.get()
}

/// What everyone in a simulation shares.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    /// Cancelled when the server has to stop; a new one for each life of it.
    pub(crate) stop: RefCell<CancellationToken>,
    /// Connections that clients hold and have forgotten.
    pub(crate) forgotten: RefCell<Vec<Box<dyn std::any::Any>>>,
    /// How many connections the server holds.
    pub(crate) server_streams: Cell<usize>,
    clock_step: Cell<TimeDelta>,
    now_ms: Cell<u32>,
    is_healed: Cell<bool>,
    dice: RefCell<ChaCha8Rng>,
    trace: RefCell<Trace>,
    connections: RefCell<BTreeMap<SocketAddr, Rc<Connection>>>,
    connection_count: Cell<usize>,
    datagram_count: Cell<usize>,
    clients_at_work: RefCell<Vec<bool>>,
    server_is_up: Cell<bool>,
    has_panicked: Cell<bool>,
}

/// What the two ends of a connection share.
pub(crate) struct Connection {
    pub(crate) index: usize,
    to_server: Flow,
    to_client: Flow,
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Flow {
    /// Bytes that were written and not yet read.
    pub(crate) bytes: Cell<usize>,
    /// Whether there is no one any more who could read them.
    pub(crate) is_closed: Cell<bool>,
    pub(crate) writer: RefCell<Option<Waker>>,
}

impl Flow {
    pub(crate) fn wake_writer(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Connection {
    /// What `end` writes to.
    pub(crate) fn outgoing(&self, end: End) -> &Flow {
        match end {
            End::Client => &self.to_server,
            End::Server => &self.to_client,
        }
    }

    /// What `end` reads from.
    pub(crate) fn incoming(&self, end: End) -> &Flow {
        match end {
            End::Client => &self.to_client,
            End::Server => &self.to_server,
        }
    }
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> World {
        World {
            scenario: scenario.clone(),
            stop: RefCell::default(),
            forgotten: RefCell::default(),
            server_streams: Cell::new(0),
            clock_step: Cell::default(),
            now_ms: Cell::new(0),
            is_healed: Cell::new(false),
            dice: RefCell::new(ChaCha8Rng::seed_from_u64(scenario.seed)),
            trace: RefCell::default(),
            connections: RefCell::default(),
            connection_count: Cell::new(0),
            datagram_count: Cell::new(0),
            clients_at_work: RefCell::default(),
            server_is_up: Cell::new(false),
            has_panicked: Cell::new(false),
        }
    }

    pub(crate) fn now_ms(&self) -> u32 {
        self.now_ms.get()
    }

    /// A millisecond passes.
    pub(crate) fn tick(&self) {
        self.now_ms.update(|now| now + 1);
        self.show_time();
    }

    /// Sets the clock of the server forward, or back.
    pub(crate) fn step_clock(&self, by: TimeDelta) {
        self.clock_step.update(|step| step + by);
        self.show_time();
    }

    fn show_time(&self) {
        let passed = TimeDelta::milliseconds(self.now_ms().into()) + self.clock_step.get();
        CLOCK.set(self.scenario.server.clock + passed);
    }

    pub(crate) fn heal(&self) {
        self.is_healed.set(true);
        self.record(EventKind::Healed);
    }

    /// What the network does now.
    pub(crate) fn network(&self) -> Network {
        match self.is_healed.get() {
            false => self.scenario.network,
            true => Network {
                window_bytes: self.scenario.network.window_bytes,
                datagrams_max: self.scenario.network.datagrams_max,
                ..Network::default()
            },
        }
    }

    /// Throws the dice: whether something happens that does so often.
    pub(crate) fn happens(&self, percent: u8) -> bool {
        percent > 0 && self.below(100) < percent.into()
    }

    /// Throws the dice: a number from 0 on, below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.dice.borrow_mut().random_range(0..end)
    }

    pub(crate) fn record(&self, kind: EventKind) {
        let at_ms = self.now_ms();
        match kind {
            EventKind::Server(ServerEvent::Started) => self.server_is_up.set(true),
            EventKind::Server(ServerEvent::Stopped { .. } | ServerEvent::Killed) => {
                self.server_is_up.set(false);
            }
            EventKind::Panicked(_) => self.has_panicked.set(true),
            _ => {}
        }
        self.trace.borrow_mut().events.push(Event { at_ms, kind });
    }

    pub(crate) fn record_client(&self, client: usize, event: ClientEvent) {
        if event == ClientEvent::Done {
            self.clients_at_work.borrow_mut()[client] = false;
        }
        self.record(EventKind::Client { client, event });
    }

    pub(crate) fn record_stream(&self, connection: &Connection, end: End, event: StreamEvent) {
        self.record(EventKind::Stream {
            connection: connection.index,
            end,
            event,
        });
    }

    pub(crate) fn server_is_up(&self) -> bool {
        self.server_is_up.get()
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked.get()
    }

    /// Tells the server to stop, if it runs.
    pub(crate) fn stop_server(&self) {
        if self.server_is_up() && !self.stop.borrow().is_cancelled() {
            self.record(EventKind::Server(ServerEvent::Stopping));
            self.stop.borrow().cancel();
        }
    }

    /// Records that what is left of the server ends now.
    pub(crate) fn server_is_killed(&self) {
        if self.server_is_up() {
            self.record(EventKind::Server(ServerEvent::Killed));
        }
    }

    pub(crate) fn take_trace(&self) -> Trace {
        self.trace.take()
    }

    /// The server accepts a connection from `client`.
    pub(crate) fn accept(&self, client: SocketAddr) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            index: self
                .connection_count
                .replace(self.connection_count.get() + 1),
            to_server: Flow::default(),
            to_client: Flow::default(),
        });
        self.connections
            .borrow_mut()
            .insert(client, Rc::clone(&connection));
        connection
    }

    /// The connection that the server has accepted from `client`.
    pub(crate) fn accepted(&self, client: SocketAddr) -> Rc<Connection> {
        let connection = self.connections.borrow_mut().remove(&client);
        connection.expect("a client is connected once the server has accepted")
    }

    pub(crate) fn next_datagram(&self) -> usize {
        self.datagram_count.replace(self.datagram_count.get() + 1)
    }

    /// One more client is at work, until it is recorded as done.
    pub(crate) fn add_client(&self) -> usize {
        let mut clients = self.clients_at_work.borrow_mut();
        clients.push(true);
        clients.len() - 1
    }

    /// The clients that are not done.
    pub(crate) fn clients_at_work(&self) -> Vec<usize> {
        let clients = self.clients_at_work.borrow();
        let at_work = clients.iter().enumerate().filter(|(_, at_work)| **at_work);
        at_work.map(|(client, _)| client).collect()
    }
}
