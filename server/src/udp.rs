//! Answering datagrams, over any socket.

use std::future::{Future, ready};
use std::io;
use std::time::Duration;

use chime_protocol::{DATAGRAM_MAX, answer};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{Clock, Tally};

/// How long to wait when the socket fails.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Batches taken after the stop: a flood must not put it off.
const LAST_BATCHES: usize = 64;

/// Where datagrams come from and go to.
pub trait Datagrams {
    /// Waits for requests, takes those that wait, at most a batch, and sends to each sender what `answer` returns, if it does, from the address
    /// that was asked. If the future is dropped before that, no request is lost.
    ///
    /// A reply that can't be sent is dropped, as a network may do anyway. `answer` gets the request,
    /// of which more than [`DATAGRAM_MAX`] bytes may be cut off: no request is longer.
    fn exchange<A>(&mut self, answer: A) -> impl Future<Output = io::Result<()>>
    where
        A: FnMut(&[u8], &mut [u8; DATAGRAM_MAX]) -> Option<usize>;
}

/// Answers datagrams until `stop` is cancelled.
pub(crate) async fn serve<D: Datagrams>(
    mut socket: D,
    clock: Clock,
    stop: CancellationToken,
) -> Tally {
    let mut tally = Tally::default();
    let mut reply = |request: &[u8], buffer: &mut [u8; DATAGRAM_MAX]| {
        let reply = answer(request, clock(), buffer).map(<[u8]>::len);
        match reply {
            Some(_) => tally.datagrams_answered += 1,
            None => tally.datagrams_ignored += 1,
        }
        reply
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            exchanged = socket.exchange(&mut reply) => {
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
            exchanged = socket.exchange(&mut reply) => exchanged.is_ok(),
            () = ready(()) => false,
        };
        if !is_exchanged {
            break;
        }
    }
    tally
}
