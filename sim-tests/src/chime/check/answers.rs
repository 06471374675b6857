//! What the server does with datagrams: a naive model of its address rules, its rate limit and its replies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use chime_model::naive;

use crate::Failure;
use crate::chime::addresses::datagram_unit;
use crate::chime::server::BROADCAST;
use crate::chime::{CoverageGoal as Goal, Scenario, Server};
use crate::trace::{DatagramEvent, EventKind, Index, Peer, ServerEvent};

/// What became of the datagrams that one server received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: usize,
    pub(super) unsent: usize,
    pub(super) ignored: usize,
    pub(super) limited: usize,
}

/// Whether the server ignores datagrams from this source address, or to this destination.
pub(super) fn is_ignored(server: &Server, from: SocketAddr, to: SocketAddr) -> bool {
    is_service(from) || !is_unicast(to.ip()) || !server.serves(from.ip())
}

pub(super) fn is_service(from: SocketAddr) -> bool {
    from.port() < 1024
}

pub(super) fn is_unicast(to: IpAddr) -> bool {
    !to.is_multicast() && to != BROADCAST
}

/// A rate limit, as a token bucket: it holds the replies of one second.
struct Bucket {
    /// In thousandths of a reply.
    level: u64,
    at_ms: u32,
    /// The number of requests that found it empty.
    excess: u32,
}

impl Bucket {
    /// Returns whether a request is answered.
    fn take(&mut self, rate: u32, now_ms: u32) -> bool {
        let rate = u64::from(rate);
        let passed_ms = u64::from(now_ms - self.at_ms);
        self.level = (self.level + passed_ms * rate).min(1_000 * rate);
        self.at_ms = now_ms;
        if self.level >= 1_000 {
            self.level -= 1_000;
            return true;
        }
        self.excess += 1;
        self.excess.is_multiple_of(4)
    }
}

/// A reply that the server has to send: when, from and to which address, and its bytes.
type Reply = (u32, SocketAddr, SocketAddr, Vec<u8>);

/// What became of the datagrams that the servers received.
#[derive(Default)]
pub(super) struct Answers {
    /// The counts of each server.
    pub(super) counts: Vec<Counts>,
    /// The goals that were reached.
    pub(super) goals: BTreeSet<Goal>,
    /// The first difference from the model.
    pub(super) failure: Option<Failure>,
}

impl Answers {
    /// Follows the servers. They have to send exactly the model's replies, in order and within the millisecond.
    pub(super) fn new(model: naive::Answer, scenario: &Scenario, index: &Index<'_>) -> Answers {
        let mut answers = Answers::default();
        answers.follow(model, scenario, index);
        answers
    }

    fn follow(&mut self, model: naive::Answer, scenario: &Scenario, index: &Index<'_>) {
        let mut buckets: BTreeMap<u128, Bucket> = BTreeMap::new();
        let mut due: VecDeque<Reply> = VecDeque::new();
        for (event, happened) in index.trace.events.iter().enumerate() {
            let at_ms = happened.at_ms;
            while due.front().is_some_and(|(due_ms, ..)| *due_ms < at_ms) {
                let message = "a request by datagram was not answered within the millisecond";
                self.fail(message, event);
                due.pop_front();
            }
            match &happened.kind {
                EventKind::Server(ServerEvent::Started) => {
                    self.counts.push(Counts::default());
                    buckets.clear();
                }
                EventKind::Server(ServerEvent::CannotSend) => {
                    self.count(|counts| &mut counts.unsent);
                    if due.len() > 1 {
                        self.goals.insert(Goal::BatchWithOneFailure);
                    }
                    due.pop_front();
                }
                EventKind::Datagram {
                    datagram,
                    event: kind,
                } => match kind {
                    DatagramEvent::Sent {
                        by: Peer::Server,
                        from,
                        to,
                        bytes,
                    } if !index.datagrams[datagram].is_duplicate => {
                        self.count(|counts| &mut counts.answered);
                        let what = match due.pop_front() {
                            None => "is a reply although none is due",
                            Some(due) if due != (at_ms, *from, *to, bytes.to_vec()) => {
                                "is not the reply that the model expects"
                            }
                            Some(_) => continue,
                        };
                        self.fail(format!("datagram {datagram} {what}"), event);
                    }
                    DatagramEvent::Received {
                        by: Peer::Server,
                        from,
                        bytes,
                    } => {
                        let to = index.datagrams[datagram].to;
                        let reply = naive::datagram(model, bytes, index.clock(at_ms));
                        let Some(reply) =
                            reply.filter(|_| !is_ignored(&scenario.server, *from, to))
                        else {
                            self.count(|counts| &mut counts.ignored);
                            continue;
                        };
                        let full = Bucket {
                            level: u64::MAX / 2,
                            at_ms,
                            excess: 0,
                        };
                        let unit = datagram_unit(from.ip());
                        let bucket = buckets.entry(unit).or_insert(full);
                        if bucket.take(scenario.server.datagram_rate, at_ms) {
                            due.push_back((at_ms, to, *from, reply));
                            if bucket.excess > 0 && bucket.excess.is_multiple_of(4) {
                                self.goals.insert(Goal::LimitedAnswered);
                            }
                        } else {
                            self.count(|counts| &mut counts.limited);
                            self.goals.insert(Goal::DatagramLimited);
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        if !due.is_empty() {
            let last = index.trace.events.len() - 1;
            self.fail("the last request by datagram was not answered", last);
        }
    }

    /// Notes a difference from the model, and goes on, so that the counts are complete.
    fn fail(&mut self, message: impl Into<String>, event: usize) {
        let failure = Failure::new(message, event);
        self.failure.get_or_insert(failure);
    }

    fn count(&mut self, counter: impl Fn(&mut Counts) -> &mut usize) {
        if let Some(counts) = self.counts.last_mut() {
            *counter(counts) += 1;
        }
    }
}
