//! The event loop that sends requests on all connections and counts the replies.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};

use super::fairness::Fairness;
use super::flags::Plan;
use super::link::{Link, Target};
use super::pace::{InFlight, Pace};
#[cfg(target_os = "linux")]
use super::timer::Timer;
use super::totals::{LinkError, Totals};

/// The most events that one poll returns.
const EVENTS_MAX: usize = 1024;
/// The most bytes that one read returns.
const BUFFER_SIZE: usize = 1 << 18;
/// How often timeouts are checked and progress is reported.
const TICK: Duration = Duration::from_millis(100);
/// The token of the timer; the token of a slot is its index.
#[cfg(target_os = "linux")]
const TIMER: Token = Token(usize::MAX);

/// Drives all connections to one server on one thread.
#[derive(Debug)]
pub(crate) struct Generator<L> {
    target: Target,
    /// The most requests in flight on each connection.
    in_flight_max: u64,
    churn: bool,
    timeout: Duration,
    slots: Vec<Slot<L>>,
    /// The index of the slot that receives the next due request.
    next_slot: usize,
    poll: Poll,
    #[cfg(target_os = "linux")]
    timer: Timer,
    buffer: Vec<u8>,
}

/// One of the concurrent connections. With `--churn` it holds one connection after another.
#[derive(Debug)]
struct Slot<L> {
    /// None after a failure, and with `--churn` between two requests.
    link: Option<L>,
    requests: InFlight,
    /// Replies received before the end of sending.
    replies: u64,
    /// The time of the last reply, or of the first request sent after an idle period.
    progress_at: Instant,
    /// Whether it is closed for the rest of the run.
    has_ended: bool,
}

/// The state of one run.
#[derive(Debug)]
struct Measurement {
    pace: Pace,
    totals: Totals,
    /// Requests in flight on all connections.
    in_flight: u64,
    last_reply_at: Instant,
}

impl<L: Link> Generator<L> {
    /// Opens all connections, unless `--churn` opens one for each request, and waits until all are ready.
    ///
    /// Returns `None` if they are not ready within `timeout`.
    pub(crate) fn open(
        target: Target,
        plan: &Plan,
        timeout: Duration,
    ) -> Result<Option<Generator<L>>, LinkError> {
        let poll = Poll::new().map_err(LinkError::Connect)?;
        let mut generator = Generator {
            target,
            in_flight_max: plan.in_flight,
            churn: plan.churn,
            timeout,
            slots: Vec::with_capacity(plan.connections),
            next_slot: 0,
            #[cfg(target_os = "linux")]
            timer: Timer::new(poll.registry(), TIMER).map_err(LinkError::Connect)?,
            poll,
            buffer: vec![0; BUFFER_SIZE],
        };
        let now = Instant::now();
        for index in 0..plan.connections {
            let mut slot = Slot {
                link: None,
                requests: InFlight::default(),
                replies: 0,
                progress_at: now,
                has_ended: false,
            };
            if !plan.churn {
                slot.open(index, &generator.target, generator.poll.registry())
                    .map_err(LinkError::Connect)?;
            }
            generator.slots.push(slot);
        }
        let is_ready = generator.wait_until_ready(now + timeout)?;
        Ok(is_ready.then_some(generator))
    }

    /// Sends requests as they become due, and returns once all replies have arrived or timed out.
    ///
    /// Calls `on_tick` every [`TICK`] with the number of replies so far. If it breaks, the run ends at once: requests
    /// in flight, and those that are not sent yet, do not count.
    pub(crate) fn run(
        &mut self,
        pace: Pace,
        mut on_tick: impl FnMut(u64) -> ControlFlow<()>,
    ) -> io::Result<Totals> {
        let start = Instant::now();
        let mut run = Measurement {
            pace,
            totals: Totals::default(),
            in_flight: 0,
            last_reply_at: start,
        };
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut next_tick = start + TICK;
        let mut over_at = None;
        self.slots.iter_mut().for_each(|each| each.replies = 0);
        self.dispatch(&mut run, start);
        loop {
            let now = Instant::now();
            if run.pace.is_over(now) {
                over_at.get_or_insert(now);
            }
            let is_any_open = self.slots.iter().any(|slot| !slot.has_ended);
            if !is_any_open || (over_at.is_some() && run.in_flight == 0) {
                let end = over_at.unwrap_or(now).max(run.last_reply_at);
                let unsent = run.pace.unsent();
                return Ok(self.end(run, start, end, unsent));
            }
            if now >= next_tick {
                next_tick = now + TICK;
                if on_tick(run.totals.requests).is_break() {
                    return Ok(self.end(run, start, now, 0));
                }
                self.expire(&mut run, now);
            }
            if run.pace.next().is_some() {
                self.dispatch(&mut run, now);
            }
            self.wait(&run.pace, next_tick, now, &mut events)?;
            for event in &events {
                self.handle_event(event, &mut run);
            }
        }
    }

    /// Returns the totals of a run.
    fn end(&self, run: Measurement, start: Instant, end: Instant, unsent: u64) -> Totals {
        let replies = self.slots.iter().map(|each| each.replies);
        let is_closed_loop = run.pace.is_closed_loop();
        Totals {
            elapsed: end - start,
            unsent,
            fairness: is_closed_loop.then(|| Fairness::of(replies)).flatten(),
            ..run.totals
        }
    }

    /// Waits until `deadline` for all connections to be ready, and returns whether they are.
    fn wait_until_ready(&mut self, deadline: Instant) -> Result<bool, LinkError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let is_ready = |slot: &Slot<L>| slot.link.as_ref().is_none_or(L::is_ready);
        while !self.slots.iter().all(is_ready) {
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            poll(&mut self.poll, &mut events, deadline - now).map_err(LinkError::Connect)?;
            for event in &events {
                let Some(slot) = self.slots.get_mut(event.token().0) else {
                    continue;
                };
                let Some(link) = &mut slot.link else {
                    continue;
                };
                let received = link.receive(event.is_read_closed(), &mut self.buffer, &self.target);
                if let Some(error) = received.end {
                    return Err(error);
                }
                if received.has_more {
                    slot.rearm(event.token(), self.poll.registry())
                        .map_err(LinkError::Connect)?;
                }
            }
        }
        Ok(true)
    }

    /// Waits for an event, the next due request, the next tick, or the end of sending.
    fn wait(
        &mut self,
        pace: &Pace,
        next_tick: Instant,
        now: Instant,
        events: &mut Events,
    ) -> io::Result<()> {
        let end = pace.end().filter(|end| *end > now);
        let mut until = end.map_or(next_tick, |end| end.min(next_tick));
        // A request that is already due waits for a connection below its limit, not for the timer.
        if let Some(next) = pace.next().filter(|next| *next > now) {
            until = until.min(next);
            #[cfg(target_os = "linux")]
            self.timer.set(next, now)?;
        }
        poll(&mut self.poll, events, until.saturating_duration_since(now))
    }

    /// Distributes the due requests evenly over the connections below their limit, round robin.
    fn dispatch(&mut self, run: &mut Measurement, now: Instant) {
        let slots = self.slots.len();
        let mut due = run.pace.due(now);
        for slots_left in (1..=slots as u64).rev() {
            if due == 0 {
                return;
            }
            due -= self.dispatch_to(self.next_slot, due.div_ceil(slots_left), run, now);
            self.next_slot = (self.next_slot + 1) % slots;
        }
    }

    /// Sends up to `requests_max` due requests on one connection, within its limit, and returns their number.
    fn dispatch_to(
        &mut self,
        index: usize,
        requests_max: u64,
        run: &mut Measurement,
        now: Instant,
    ) -> u64 {
        let slot = &mut self.slots[index];
        if slot.has_ended {
            return 0;
        }
        let capacity = self.in_flight_max - slot.requests.count();
        let Some(batch) = run.pace.take(capacity.min(requests_max), now) else {
            return 0;
        };
        if slot.requests.count() == 0 {
            slot.progress_at = now;
        }
        run.in_flight += batch.count;
        slot.requests.push(batch);
        if slot.link.is_none()
            && let Err(error) = slot.open(index, &self.target, self.poll.registry())
        {
            run.fail(slot, error.into());
            return batch.count;
        }
        if let Some(link) = &mut slot.link {
            link.queue(batch.count, &self.target);
        }
        run.flush(slot, &self.target);
        batch.count
    }

    /// Reads and writes what an event has made possible.
    fn handle_event(&mut self, event: &Event, run: &mut Measurement) {
        let index = event.token().0;
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(link) = &mut slot.link else {
            return;
        };
        if event.is_readable() || event.is_error() || !link.is_ready() {
            let received = link.receive(event.is_read_closed(), &mut self.buffer, &self.target);
            let now = Instant::now();
            run.totals.bytes_received += received.bytes;
            run.count_replies(slot, received.replies, now);
            let is_done = self.churn && received.replies > 0;
            match received.end {
                // With --churn the server may close first.
                None | Some(LinkError::Broken(_)) if is_done => slot.link = None,
                Some(error) => {
                    run.end(slot, error, now);
                    return;
                }
                None if received.has_more => {
                    if let Err(error) = slot.rearm(event.token(), self.poll.registry()) {
                        run.fail(slot, error.into());
                        return;
                    }
                }
                None => {}
            }
            if received.replies > 0 {
                self.dispatch_to(index, u64::MAX, run, now);
            }
        }
        run.flush(&mut self.slots[index], &self.target);
    }

    /// Gives up the requests of the connections that made no progress within the timeout.
    ///
    /// Over TCP this fails the connection. Over UDP the datagrams count as lost.
    fn expire(&mut self, run: &mut Measurement, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let is_waiting = slot.requests.count() > 0;
            if !is_waiting || now.saturating_duration_since(slot.progress_at) < self.timeout {
                continue;
            }
            let given_up = run.expire(slot, now);
            if !L::MAY_LOSE {
                run.totals.unanswered += given_up;
                run.fail(slot, LinkError::TimedOut);
                continue;
            }
            run.totals.lost += given_up;
            // A new socket: a late reply must not count for a later request.
            slot.link = None;
            self.dispatch_to(index, u64::MAX, run, now);
        }
    }
}

impl Measurement {
    /// Counts replies to the oldest requests of a connection.
    fn count_replies<L>(&mut self, slot: &mut Slot<L>, replies: u64, now: Instant) {
        if replies == 0 {
            return;
        }
        let requests = &mut slot.requests;
        requests.complete(replies, now, &mut self.totals.latencies);
        slot.progress_at = now;
        if !self.pace.has_ended(now) {
            slot.replies += replies;
        }
        self.totals.requests += replies;
        self.last_reply_at = now;
        self.in_flight -= replies;
    }

    /// Gives up all requests of a connection, records their age as latency, and returns their number.
    fn expire<L>(&mut self, slot: &mut Slot<L>, now: Instant) -> u64 {
        let given_up = slot.requests.count();
        let requests = &mut slot.requests;
        requests.complete(given_up, now, &mut self.totals.latencies);
        self.in_flight -= given_up;
        given_up
    }

    fn flush<L: Link>(&mut self, slot: &mut Slot<L>, target: &Target) {
        let Some(link) = &mut slot.link else {
            return;
        };
        match link.flush(target) {
            Ok(bytes) => self.totals.bytes_sent += bytes,
            Err(error) => self.fail(slot, error.into()),
        }
    }

    /// Handles the end of a connection, which is a failure unless it is idle and nothing more will be sent.
    fn end<L>(&mut self, slot: &mut Slot<L>, error: LinkError, now: Instant) {
        let is_idle = slot.requests.count() == 0 && self.pace.is_over(now);
        match error {
            LinkError::Broken(_) if is_idle => slot.end(),
            error => self.fail(slot, error),
        }
    }

    fn fail<L>(&mut self, slot: &mut Slot<L>, error: LinkError) {
        let unanswered = slot.requests.abandon();
        self.in_flight -= unanswered;
        self.totals.unanswered += unanswered;
        self.totals.errors.add(error);
        slot.end();
    }
}

impl<L> Slot<L> {
    fn end(&mut self) {
        self.link = None;
        self.has_ended = true;
    }
}

impl<L: Link> Slot<L> {
    fn open(&mut self, index: usize, target: &Target, registry: &Registry) -> io::Result<()> {
        let link = self.link.insert(L::open(target)?);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(link.source(), Token(index), interest)
    }

    /// Reregisters the connection: a level that is already there causes a new event.
    fn rearm(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(link.source(), token, interest)
    }
}

/// Waits for events; a signal ends the wait early, without events.
fn poll(poll: &mut Poll, events: &mut Events, wait: Duration) -> io::Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        polled => polled,
    }
}
