//! The loop that sends requests on all slots and counts the replies.

use std::io;
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

/// Events taken from the system at one time.
const EVENTS_MAX: usize = 1024;
/// Room for what one read returns.
const BUFFER_SIZE: usize = 1 << 18;
/// How often it is looked for slots that time out, and progress is told.
const TICK: Duration = Duration::from_millis(100);
/// The token of the timer; those of slots are their places.
#[cfg(target_os = "linux")]
const TIMER: Token = Token(usize::MAX);

/// Connections of one kind to one server, and what drives them, on one thread.
#[derive(Debug)]
pub(crate) struct Generator<L> {
    target: Target,
    /// Requests on their way at one time on each slot.
    in_flight_max: u64,
    churn: bool,
    timeout: Duration,
    slots: Vec<Slot<L>>,
    /// Whose turn it is to take a request that is due.
    next_slot: usize,
    poll: Poll,
    #[cfg(target_os = "linux")]
    timer: Timer,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Slot<L> {
    /// None before the first request of a slot of its own, and after a failure.
    link: Option<L>,
    requests: InFlight,
    /// Those that came within the time to send.
    replies: u64,
    /// When the last reply came, or a request was sent after all had been answered.
    progress_at: Instant,
    /// Whether it sends no more.
    has_ended: bool,
}

/// What is going on while requests are sent.
#[derive(Debug)]
struct Measurement {
    pace: Pace,
    totals: Totals,
    /// Requests on their way on all slots.
    in_flight: u64,
    last_reply_at: Instant,
}

impl<L: Link> Generator<L> {
    /// Opens all slots, unless each request will have one of its own, and waits until requests
    /// can be sent on them; `None` says that the wait was longer than `timeout`.
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

    /// Sends what is due, until all of it was and all replies have come or are overdue.
    ///
    /// `tell` is called every [`TICK`] with the requests that have been answered so far.
    pub(crate) fn run(&mut self, pace: Pace, mut on_tick: impl FnMut(u64)) -> io::Result<Totals> {
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
            let has_room = self.slots.iter().any(|slot| !slot.has_ended);
            if !has_room || (over_at.is_some() && run.in_flight == 0) {
                let end = over_at.unwrap_or(now).max(run.last_reply_at);
                run.totals.elapsed = end - start;
                run.totals.unsent = run.pace.unsent();
                let replies = self.slots.iter().map(|each| each.replies);
                let is_closed_loop = run.pace.is_closed_loop();
                run.totals.fairness = is_closed_loop.then(|| Fairness::of(replies)).flatten();
                return Ok(run.totals);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                on_tick(run.totals.requests);
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

    /// Waits until `deadline` for the slots to be ready, and says whether they are.
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
                if let Some(fault) = received.end {
                    return Err(fault);
                }
                if received.has_more {
                    slot.rearm(event.token(), self.poll.registry())
                        .map_err(LinkError::Connect)?;
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
        // If one is due already, it waits for a slot to have room.
        if let Some(next) = pace.next().filter(|next| *next > now) {
            until = until.min(next);
            #[cfg(target_os = "linux")]
            self.timer.set(next, now)?;
        }
        poll(&mut self.poll, events, until.saturating_duration_since(now))
    }

    /// Gives the requests that are due to slots with room for them, in turn.
    fn dispatch(&mut self, run: &mut Measurement, now: Instant) {
        let slots = self.slots.len();
        let mut due = run.pace.due(now);
        for connections_left in (1..=slots as u64).rev() {
            if due == 0 {
                return;
            }
            due -= self.dispatch_to(self.next_slot, due.div_ceil(connections_left), run, now);
            self.next_slot = (self.next_slot + 1) % slots;
        }
    }

    /// Has a slot send up to so many requests that are due, as far as it has room, and returns
    /// how many it took.
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
        let room = self.in_flight_max - slot.requests.count();
        let Some(batch) = run.pace.take(room.min(requests_max), now) else {
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

    /// Does what an event is about.
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
                // The server may close it as well.
                None | Some(LinkError::Broken(_)) if is_done => slot.link = None,
                Some(fault) => {
                    run.end(slot, fault, now);
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

    /// Ends the slots on which no reply came for too long. Of datagrams, which may be lost, that
    /// is no failure.
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
            // A late reply must not be taken for that to another request.
            slot.link = None;
            self.dispatch_to(index, u64::MAX, run, now);
        }
    }
}

impl Measurement {
    /// Counts replies to the oldest requests of a slot.
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

    /// Gives up all requests of a slot, records their age, and returns how many they were.
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

    /// Ends a slot that the server has ended, which is no failure once there is nothing to do.
    fn end<L>(&mut self, slot: &mut Slot<L>, fault: LinkError, now: Instant) {
        let is_idle = slot.requests.count() == 0 && self.pace.is_over(now);
        match fault {
            LinkError::Broken(_) if is_idle => slot.end(),
            fault => self.fail(slot, fault),
        }
    }

    fn fail<L>(&mut self, slot: &mut Slot<L>, fault: LinkError) {
        let unanswered = slot.requests.abandon();
        self.in_flight -= unanswered;
        self.totals.unanswered += unanswered;
        self.totals.errors.add(fault);
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

    /// Asks for an event about what is there already.
    fn rearm(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
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
