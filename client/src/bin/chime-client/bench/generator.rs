//! The loop that sends requests on all connections and counts the replies.

use std::io;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};

use super::fairness::Fairness;
use super::flags::Plan;
use super::link::{Link, Target};
use super::pace::{OnTheirWay, Pace};
use super::tally::{Fault, Tally};
#[cfg(target_os = "linux")]
use super::timer::Timer;

/// Events taken from the system at one time.
const EVENTS_MAX: usize = 1024;
/// Room for what one read returns.
const BUFFER_SIZE: usize = 1 << 18;
/// How often it is looked for connections that time out, and progress is told.
const TICK: Duration = Duration::from_millis(100);
/// The token of the timer; those of connections are their places.
#[cfg(target_os = "linux")]
const TIMER: Token = Token(usize::MAX);

/// Connections of one kind to one server, and what drives them, on one thread.
#[derive(Debug)]
pub(crate) struct Generator<L> {
    target: Target,
    /// Requests on their way at one time on each connection.
    in_flight: u64,
    churn: bool,
    timeout: Duration,
    connections: Vec<Connection<L>>,
    /// Whose turn it is to take a request that is due.
    turn: usize,
    poll: Poll,
    #[cfg(target_os = "linux")]
    timer: Timer,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection<L> {
    /// None before the first request of a connection of its own, and after a failure.
    link: Option<L>,
    requests: OnTheirWay,
    /// Those that came within the time to send.
    replies: u64,
    /// When the last reply came, or a request was sent after all had been answered.
    moved_at: Instant,
    /// Whether it sends no more.
    has_ended: bool,
}

/// What is going on while requests are sent.
#[derive(Debug)]
struct Measurement {
    pace: Pace,
    tally: Tally,
    /// Requests on their way on all connections.
    on_their_way: u64,
    replied_at: Instant,
}

impl<L: Link> Generator<L> {
    /// Opens all connections, unless each request will have one of its own, and waits until requests
    /// can be sent on them; `None` says that the wait was longer than `timeout`.
    pub(crate) fn open(
        target: Target,
        plan: &Plan,
        timeout: Duration,
    ) -> Result<Option<Generator<L>>, Fault> {
        let poll = Poll::new().map_err(Fault::Connect)?;
        let mut generator = Generator {
            target,
            in_flight: plan.in_flight,
            churn: plan.churn,
            timeout,
            connections: Vec::with_capacity(plan.connections),
            turn: 0,
            #[cfg(target_os = "linux")]
            timer: Timer::new(poll.registry(), TIMER).map_err(Fault::Connect)?,
            poll,
            buffer: vec![0; BUFFER_SIZE],
        };
        let now = Instant::now();
        for index in 0..plan.connections {
            let mut connection = Connection {
                link: None,
                requests: OnTheirWay::default(),
                replies: 0,
                moved_at: now,
                has_ended: false,
            };
            if !plan.churn {
                connection
                    .open(index, &generator.target, generator.poll.registry())
                    .map_err(Fault::Connect)?;
            }
            generator.connections.push(connection);
        }
        let is_ready = generator.wait_until_ready(now + timeout)?;
        Ok(is_ready.then_some(generator))
    }

    /// Sends what is due, until all of it was and all replies have come or are overdue.
    ///
    /// `tell` is called every [`TICK`] with the requests that have been answered so far.
    pub(crate) fn run(&mut self, pace: Pace, mut tell: impl FnMut(u64)) -> io::Result<Tally> {
        let start = Instant::now();
        let mut run = Measurement {
            pace,
            tally: Tally::default(),
            on_their_way: 0,
            replied_at: start,
        };
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut next_tick = start + TICK;
        let mut over_at = None;
        self.connections
            .iter_mut()
            .for_each(|each| each.replies = 0);
        self.hand_out(&mut run, start);
        loop {
            let now = Instant::now();
            if run.pace.is_over(now) {
                over_at.get_or_insert(now);
            }
            let has_room = self
                .connections
                .iter()
                .any(|connection| !connection.has_ended);
            if !has_room || (over_at.is_some() && run.on_their_way == 0) {
                let end = over_at.unwrap_or(now).max(run.replied_at);
                run.tally.elapsed = end - start;
                run.tally.unsent = run.pace.unsent();
                let replies = self.connections.iter().map(|each| each.replies);
                let is_closed_loop = run.pace.is_closed_loop();
                run.tally.fairness = is_closed_loop.then(|| Fairness::of(replies)).flatten();
                return Ok(run.tally);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                tell(run.tally.requests);
                self.give_up_waiting(&mut run, now);
            }
            if run.pace.next().is_some() {
                self.hand_out(&mut run, now);
            }
            self.wait(&run.pace, next_tick, now, &mut events)?;
            for event in &events {
                self.attend(event, &mut run);
            }
        }
    }

    /// Waits until `deadline` for the connections to be ready, and says whether they are.
    fn wait_until_ready(&mut self, deadline: Instant) -> Result<bool, Fault> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let is_ready =
            |connection: &Connection<L>| connection.link.as_ref().is_none_or(L::is_ready);
        while !self.connections.iter().all(is_ready) {
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            poll(&mut self.poll, &mut events, deadline - now).map_err(Fault::Connect)?;
            for event in &events {
                let Some(connection) = self.connections.get_mut(event.token().0) else {
                    continue;
                };
                let Some(link) = &mut connection.link else {
                    continue;
                };
                let received = link.receive(event.is_read_closed(), &mut self.buffer, &self.target);
                if let Some(fault) = received.end {
                    return Err(fault);
                }
                if received.has_more {
                    connection
                        .look_again(event.token(), self.poll.registry())
                        .map_err(Fault::Connect)?;
                }
            }
        }
        Ok(true)
    }

    /// Waits for an event, the next request that is due, the next tick, or the end.
    fn wait(
        &mut self,
        pace: &Pace,
        next_tick: Instant,
        now: Instant,
        events: &mut Events,
    ) -> io::Result<()> {
        let end = pace.end().filter(|end| *end > now);
        let mut until = end.map_or(next_tick, |end| end.min(next_tick));
        // If one is due already, it waits for a connection to have room.
        if let Some(next) = pace.next().filter(|next| *next > now) {
            until = until.min(next);
            #[cfg(target_os = "linux")]
            self.timer.set(next, now)?;
        }
        poll(&mut self.poll, events, until.saturating_duration_since(now))
    }

    /// Gives the requests that are due to connections with room for them, in turn.
    fn hand_out(&mut self, run: &mut Measurement, now: Instant) {
        let connections = self.connections.len();
        let mut due = run.pace.due(now);
        for connections_left in (1..=connections as u64).rev() {
            if due == 0 {
                return;
            }
            due -= self.give(self.turn, due.div_ceil(connections_left), run, now);
            self.turn = (self.turn + 1) % connections;
        }
    }

    /// Has a connection send up to so many requests that are due, as far as it has room, and returns
    /// how many it took.
    fn give(
        &mut self,
        index: usize,
        requests_max: u64,
        run: &mut Measurement,
        now: Instant,
    ) -> u64 {
        let connection = &mut self.connections[index];
        if connection.has_ended {
            return 0;
        }
        let room = self.in_flight - connection.requests.count();
        let Some(batch) = run.pace.take(room.min(requests_max), now) else {
            return 0;
        };
        if connection.requests.count() == 0 {
            connection.moved_at = now;
        }
        run.on_their_way += batch.count;
        connection.requests.push(batch);
        if connection.link.is_none()
            && let Err(error) = connection.open(index, &self.target, self.poll.registry())
        {
            run.fail(connection, error.into());
            return batch.count;
        }
        if let Some(link) = &mut connection.link {
            link.ask(batch.count, &self.target);
        }
        run.flush(connection, &self.target);
        batch.count
    }

    /// Does what an event is about.
    fn attend(&mut self, event: &Event, run: &mut Measurement) {
        let index = event.token().0;
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(link) = &mut connection.link else {
            return;
        };
        if event.is_readable() || event.is_error() || !link.is_ready() {
            let received = link.receive(event.is_read_closed(), &mut self.buffer, &self.target);
            let now = Instant::now();
            run.tally.bytes_received += received.bytes;
            run.answer(connection, received.replies, now);
            let is_done = self.churn && received.replies > 0;
            match received.end {
                // The server may close it as well.
                None | Some(Fault::Broken(_)) if is_done => connection.link = None,
                Some(fault) => {
                    run.end(connection, fault, now);
                    return;
                }
                None if received.has_more => {
                    if let Err(error) = connection.look_again(event.token(), self.poll.registry()) {
                        run.fail(connection, error.into());
                        return;
                    }
                }
                None => {}
            }
            if received.replies > 0 {
                self.give(index, u64::MAX, run, now);
            }
        }
        run.flush(&mut self.connections[index], &self.target);
    }

    /// Ends the connections on which no reply came for too long. Of datagrams, which may be lost, that
    /// is no failure.
    fn give_up_waiting(&mut self, run: &mut Measurement, now: Instant) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            let is_waiting = connection.requests.count() > 0;
            if !is_waiting || now.saturating_duration_since(connection.moved_at) < self.timeout {
                continue;
            }
            let given_up = run.give_up(connection, now);
            if !L::MAY_LOSE {
                run.tally.unanswered += given_up;
                run.fail(connection, Fault::TimedOut);
                continue;
            }
            run.tally.lost += given_up;
            // A late reply must not be taken for that to another request.
            connection.link = None;
            self.give(index, u64::MAX, run, now);
        }
    }
}

impl Measurement {
    /// Counts replies to the oldest requests of a connection.
    fn answer<L>(&mut self, connection: &mut Connection<L>, replies: u64, now: Instant) {
        if replies == 0 {
            return;
        }
        let requests = &mut connection.requests;
        requests.settle(replies, now, &mut self.tally.latencies);
        connection.moved_at = now;
        if !self.pace.has_ended(now) {
            connection.replies += replies;
        }
        self.tally.requests += replies;
        self.replied_at = now;
        self.on_their_way -= replies;
    }

    /// Gives up all requests of a connection, records their age, and returns how many they were.
    fn give_up<L>(&mut self, connection: &mut Connection<L>, now: Instant) -> u64 {
        let given_up = connection.requests.count();
        let requests = &mut connection.requests;
        requests.settle(given_up, now, &mut self.tally.latencies);
        self.on_their_way -= given_up;
        given_up
    }

    fn flush<L: Link>(&mut self, connection: &mut Connection<L>, target: &Target) {
        let Some(link) = &mut connection.link else {
            return;
        };
        match link.flush(target) {
            Ok(bytes) => self.tally.bytes_sent += bytes,
            Err(error) => self.fail(connection, error.into()),
        }
    }

    /// Ends a connection that the server has ended, which is no failure once there is nothing to do.
    fn end<L>(&mut self, connection: &mut Connection<L>, fault: Fault, now: Instant) {
        let is_idle = connection.requests.count() == 0 && self.pace.is_over(now);
        match fault {
            Fault::Broken(_) if is_idle => connection.end(),
            fault => self.fail(connection, fault),
        }
    }

    fn fail<L>(&mut self, connection: &mut Connection<L>, fault: Fault) {
        let unanswered = connection.requests.abandon();
        self.on_their_way -= unanswered;
        self.tally.unanswered += unanswered;
        self.tally.errors.add(fault);
        connection.end();
    }
}

impl<L> Connection<L> {
    fn end(&mut self) {
        self.link = None;
        self.has_ended = true;
    }
}

impl<L: Link> Connection<L> {
    fn open(&mut self, index: usize, target: &Target, registry: &Registry) -> io::Result<()> {
        let link = self.link.insert(L::open(target)?);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(link.source(), Token(index), interest)
    }

    /// Asks for an event about what is there already.
    fn look_again(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(link.source(), token, interest)
    }
}

/// Waits for events; a signal ends the wait too.
fn poll(poll: &mut Poll, events: &mut Events, wait: Duration) -> io::Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        polled => polled,
    }
}
