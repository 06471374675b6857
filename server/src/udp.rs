//! Answering datagrams, over any socket.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use chime_protocol::{DATAGRAM_MAX, answer};
use chrono::NaiveDateTime;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{Event, Worker};

/// How long to wait when the socket fails.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Batches taken after the stop: a flood must not put it off.
const LAST_BATCHES: usize = 64;

/// The least port that a client has. Below are services, which must not be tricked into talking to this one.
const CLIENT_PORT_MIN: u16 = 1024;

/// What has come to a socket.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What it says; more than [`DATAGRAM_MAX`] bytes may be cut off, since no request is longer.
    pub bytes: &'a [u8],
    /// Who seems to have sent it.
    pub from: SocketAddr,
    /// Whether it was sent to this host alone, not to all of a network or a group.
    pub is_for_host: bool,
}

/// Where datagrams come from and go to.
pub trait Datagrams {
    /// Waits for datagrams, takes those that wait, at most a batch, and sends to each sender the reply, from
    /// the address that was asked. If the future is dropped before that, none is lost.
    ///
    /// `answer` writes the reply to the front of the buffer and returns its length, if there is one. A reply
    /// that can't be sent is dropped, as a network may do anyway.
    fn exchange<A>(&mut self, answer: A) -> impl Future<Output = io::Result<()>>
    where
        A: FnMut(Datagram<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<usize>;
}

/// Answers datagrams until `stop` is cancelled.
pub(crate) async fn serve<D: Datagrams>(
    mut socket: D,
    worker: Rc<Worker>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            exchanged = exchange(&mut socket, &worker) => {
                if let Err(error) = exchanged {
                    warn!("cannot receive datagrams for now: {error}");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
    // What was asked before the stop is answered too. It may not be known here until the runtime has
    // asked the system.
    yield_now().await;
    for _ in 0..LAST_BATCHES {
        let is_exchanged = tokio::select! {
            biased;
            exchanged = exchange(&mut socket, &worker) => exchanged.is_ok(),
            () = ready(()) => false,
        };
        if !is_exchanged {
            break;
        }
    }
}

/// Answers a batch. One look at the clock serves all of it.
async fn exchange(socket: &mut impl Datagrams, worker: &Worker) -> io::Result<()> {
    let mut now = None;
    let answer = |datagram: Datagram<'_>, buffer: &mut [u8; DATAGRAM_MAX]| {
        let now = *now.get_or_insert_with(worker.options.clock);
        let (event, length) = answer_datagram(worker, now, datagram, buffer);
        worker.counters.count(event);
        length
    };
    socket.exchange(answer).await
}

/// Writes the reply, if there is one, and says what becomes of the datagram.
fn answer_datagram(
    worker: &Worker,
    now: NaiveDateTime,
    datagram: Datagram<'_>,
    buffer: &mut [u8; DATAGRAM_MAX],
) -> (Event, Option<usize>) {
    let options = &worker.options;
    let address = datagram.from.ip();
    let is_from_client = datagram.from.port() >= CLIENT_PORT_MIN
        && datagram.is_for_host
        && options.networks.admit(address);
    if !is_from_client {
        return (Event::DatagramIgnored, None);
    }
    let Some(reply) = answer(datagram.bytes, now, buffer) else {
        return (Event::DatagramIgnored, None);
    };
    match &options.datagram_rate {
        Some(rate) if !rate.admit(address, Instant::now()) => (Event::DatagramLimited, None),
        _ => (Event::DatagramAnswered, Some(reply.len())),
    }
}
