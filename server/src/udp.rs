//! Receiving datagrams and sending replies, over any socket.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use chime_protocol::{DATAGRAM_MAX, answer_datagram};
use chrono::NaiveDateTime;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::conversation::QUIET_PERIOD;
use crate::{Counter, WorkerContext};

/// The pause after a receive error.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The most batches received after shutdown has begun, so that a flood cannot delay it.
const DRAIN_BATCHES_MAX: usize = 64;

/// The lowest port of a client. Lower ports belong to services: a spoofed request could loop between two.
const CLIENT_PORT_MIN: u16 = 1024;

/// A datagram: a request, or the reply to it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    payload: [u8; DATAGRAM_MAX],
    length: usize,
    /// The sender of the request, and the destination of the reply.
    pub peer: SocketAddr,
    /// The destination address of the request, if the socket reports it: the source address of the reply.
    pub local: Option<IpAddr>,
    /// Whether the request was unicast: neither broadcast nor multicast.
    pub is_unicast: bool,
}

impl Datagram {
    /// Returns a unicast datagram, with the payload truncated to [`DATAGRAM_MAX`] bytes: no request is longer.
    pub fn new(payload: &[u8], peer: SocketAddr) -> Datagram {
        let length = payload.len().min(DATAGRAM_MAX);
        let mut datagram = Datagram {
            payload: [0; DATAGRAM_MAX],
            length,
            peer,
            local: None,
            is_unicast: true,
        };
        datagram.payload[..length].copy_from_slice(&payload[..length]);
        datagram
    }

    /// Returns the payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }
}

/// A UDP socket, real or simulated.
pub trait Datagrams {
    /// Waits until the socket is readable, and appends a bounded number of received datagrams to `batch`.
    ///
    /// Cancel safe: if the future is dropped, no datagram is lost.
    fn receive(&mut self, batch: &mut Vec<Datagram>) -> impl Future<Output = io::Result<()>>;

    /// Sends each datagram to its `peer`, from its `local` address, and returns how many were sent. A
    /// datagram that cannot be sent at once is dropped: UDP does not guarantee delivery.
    fn send(&mut self, batch: &[Datagram]) -> impl Future<Output = usize>;
}

/// Replies to datagrams until `stop` is cancelled, then to those that the kernel received before.
pub(crate) async fn serve<D: Datagrams>(mut socket: D, context: Rc<WorkerContext>) {
    let stop = &context.stop;
    let mut batch = Vec::new();
    let mut is_failing = false;
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = socket.receive(&mut batch) => received,
        };
        if let Err(error) = received {
            if !is_failing {
                warn!("cannot receive datagrams: {error} (retrying)");
            }
            is_failing = true;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(ERROR_PAUSE) => {}
            }
        } else {
            is_failing = false;
            reply(&mut socket, &mut batch, &context).await;
        }
    }
    let mut quiet_period = pin!(sleep(QUIET_PERIOD));
    for _ in 0..DRAIN_BATCHES_MAX {
        tokio::select! {
            biased;
            // Ignore errors: an ICMP error affects one datagram, and the next receive succeeds.
            _ = socket.receive(&mut batch) => reply(&mut socket, &mut batch, &context).await,
            () = &mut quiet_period => break,
        }
    }
}

/// Replies to a batch, with one reading of the clock, and empties it.
async fn reply(socket: &mut impl Datagrams, batch: &mut Vec<Datagram>, context: &WorkerContext) {
    let counters = &context.counters;
    let now = context.options.clock.now();
    batch.retain_mut(|datagram| match make_reply(datagram, now, context) {
        Ok(()) => true,
        Err(counter) => {
            counters.count(counter);
            false
        }
    });
    if !batch.is_empty() {
        let sent = socket.send(batch).await;
        counters.add(Counter::DatagramAnswered, sent as u64);
        counters.add(Counter::DatagramUnsent, (batch.len() - sent) as u64);
        batch.clear();
    }
}

/// Overwrites a request with its reply; without one, returns the counter of the reason.
fn make_reply(
    datagram: &mut Datagram,
    now: NaiveDateTime,
    context: &WorkerContext,
) -> Result<(), Counter> {
    let options = &context.options;
    let client = datagram.peer.ip();
    let is_from_client = datagram.peer.port() >= CLIENT_PORT_MIN
        && datagram.is_unicast
        && options.networks.allows(client);
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = match is_from_client {
        true => answer_datagram(datagram.payload(), now, &mut buffer),
        false => None,
    };
    datagram.length = reply.ok_or(Counter::DatagramIgnored)?.len();
    datagram.payload = buffer;
    match &options.datagram_rate {
        Some(rate) if !rate.try_acquire(client, Instant::now) => Err(Counter::DatagramLimited),
        _ => Ok(()),
    }
}
