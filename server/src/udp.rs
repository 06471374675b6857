//! Replying to datagrams, over any socket.

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

use crate::conversation::QUIET;
use crate::{Counter, WorkerContext};

/// How long to wait when the socket fails.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Batches received after a stop: a flood must not put it off.
const LAST_BATCHES: usize = 64;

/// The lowest port of a client. Below are services, which must not be tricked into a loop with this one.
const CLIENT_PORT_MIN: u16 = 1024;

/// A datagram: a request, or the reply to it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    payload: [u8; DATAGRAM_MAX],
    length: usize,
    /// Who sent the request.
    pub peer: SocketAddr,
    /// The address that the request was sent to, if the socket reports it. The reply leaves from there.
    pub local: Option<IpAddr>,
    /// Whether the request was sent to this host alone: not broadcast, nor to a multicast group.
    pub is_unicast: bool,
}

impl Datagram {
    /// A unicast datagram. The payload may be cut off after [`DATAGRAM_MAX`] bytes: no request is longer.
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

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }
}

/// Where datagrams come from and go to.
pub trait Datagrams {
    /// Waits until there are datagrams, and adds those to `batch` that have arrived, some at a time.
    ///
    /// If the future is dropped, no datagram is lost.
    fn receive(&mut self, batch: &mut Vec<Datagram>) -> impl Future<Output = io::Result<()>>;

    /// Sends each datagram to its `peer`, from its `local` address, and returns how many were sent. One
    /// that cannot be sent now is dropped, as a network may do anyway.
    fn send(&mut self, batch: &[Datagram]) -> impl Future<Output = usize>;
}

/// Replies to datagrams until `stop` is cancelled, then to those that arrived before.
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
                warn!("cannot receive datagrams for now: {error}");
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
    let mut quiet = pin!(sleep(QUIET));
    for _ in 0..LAST_BATCHES {
        tokio::select! {
            biased;
            // An error was that of one datagram, if the next one is received.
            _ = socket.receive(&mut batch) => reply(&mut socket, &mut batch, &context).await,
            () = &mut quiet => break,
        }
    }
}

/// Replies to a batch, all at the same time of the clock, and empties it.
async fn reply(socket: &mut impl Datagrams, batch: &mut Vec<Datagram>, context: &WorkerContext) {
    let counters = &context.counters;
    let now = (context.options.clock)();
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

/// Makes a request its own reply, or returns why there is no reply.
fn make_reply(
    datagram: &mut Datagram,
    now: NaiveDateTime,
    context: &WorkerContext,
) -> Result<(), Counter> {
    let options = &context.options;
    let client = datagram.peer.ip();
    let is_from_client = datagram.peer.port() >= CLIENT_PORT_MIN
        && datagram.is_unicast
        && options.networks.admit(client);
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = match is_from_client {
        true => answer_datagram(datagram.payload(), now, &mut buffer),
        false => None,
    };
    datagram.length = reply.ok_or(Counter::DatagramIgnored)?.len();
    datagram.payload = buffer;
    match &options.datagram_rate {
        Some(rate) if !rate.admit(client, Instant::now) => Err(Counter::DatagramLimited),
        _ => Ok(()),
    }
}
