//! Requests over datagrams that are lost, refused, empty, or do not match.

use std::cell::{Cell, RefCell};
use std::future;
use std::io;
use std::time::Duration;

use chime_client::{Datagrams, Error, ask_datagram};
use chime_protocol::{Command, Reply};
use tokio::time::{Instant, sleep};

use crate::TIMEOUT;

/// A network with a scripted outcome for each attempt, and silence after the last.
struct Network {
    attempts: &'static [Attempt],
    start: Instant,
    /// The time at which each request was sent, in seconds.
    sent: RefCell<Vec<f64>>,
    received: Cell<usize>,
}

enum Attempt {
    Silence,
    Refused,
    Unreachable,
    Datagrams(&'static [&'static [u8]]),
    /// Empty datagrams at an interval shorter than the wait for a reply.
    EmptyForever,
}

impl Network {
    fn new(attempts: &'static [Attempt]) -> Network {
        Network {
            attempts,
            start: Instant::now(),
            sent: RefCell::default(),
            received: Cell::new(0),
        }
    }

    fn sent(self) -> Vec<f64> {
        self.sent.into_inner()
    }

    fn current(&self) -> &'static Attempt {
        let number = self.sent.borrow().len() - 1;
        self.attempts.get(number).unwrap_or(&Attempt::Silence)
    }
}

impl Datagrams for Network {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        assert_eq!(datagram, b"time");
        let seconds = self.start.elapsed().as_secs_f64();
        self.sent.borrow_mut().push(seconds);
        self.received.set(0);
        match self.current() {
            Attempt::Unreachable => Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => Ok(()),
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagrams = match self.current() {
            Attempt::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Attempt::Datagrams(datagrams) => datagrams,
            Attempt::EmptyForever => {
                sleep(Duration::from_millis(300)).await;
                return Ok(0);
            }
            Attempt::Silence | Attempt::Unreachable => return future::pending().await,
        };
        let Some(datagram) = datagrams.get(self.received.replace(self.received.get() + 1)) else {
            return future::pending().await;
        };
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

const REPLY: Attempt = Attempt::Datagrams(&[b"06:32:06"]);

/// Sends a request, and returns the result and the times at which it was sent.
async fn ask(attempts: &'static [Attempt], timeout: Duration) -> (Result<Reply, Error>, Vec<f64>) {
    let network = Network::new(attempts);
    let reply = ask_datagram(&network, Command::Time, timeout).await;
    (reply, network.sent())
}

fn is_reply(result: &Result<Reply, Error>) -> bool {
    matches!(result, Ok(reply @ Reply::Time(_)) if reply.to_string() == "06:32:06")
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_retried() {
    for (attempts, times) in [
        (&[REPLY] as &[_], &[0.0] as &[_]),
        (&[Attempt::Silence, REPLY], &[0.0, 1.0]),
        (
            &[Attempt::Silence, Attempt::Silence, REPLY],
            &[0.0, 1.0, 3.0],
        ),
        (&[Attempt::Refused, REPLY], &[0.0, 1.0]),
        (&[Attempt::Unreachable, REPLY], &[0.0, 1.0]),
    ] {
        let (result, sent) = ask(attempts, TIMEOUT).await;
        assert!(is_reply(&result), "{result:?}");
        assert_eq!(sent, times);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_times_out() {
    let start = Instant::now();
    let (result, sent) = ask(&[], TIMEOUT).await;
    let seven = Duration::from_secs(7);
    assert!(matches!(result, Err(Error::TimedOut { after, mid_line: false }) if after == seven));
    assert_eq!(start.elapsed(), seven);
    assert_eq!(sent, [0.0, 1.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_bounds_all_attempts_together() {
    for (milliseconds, times) in [(500, &[0.0] as &[_]), (1000, &[0.0]), (2500, &[0.0, 1.0])] {
        let timeout = Duration::from_millis(milliseconds);
        let start = Instant::now();
        let (result, sent) = ask(&[], timeout).await;
        assert!(matches!(result, Err(Error::TimedOut { after, .. }) if after == timeout));
        assert_eq!(start.elapsed(), timeout);
        assert_eq!(sent, times);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_socket_error_is_returned_if_every_attempt_has_one() {
    let start = Instant::now();
    let (result, sent) = ask(
        &[Attempt::Unreachable, Attempt::Refused, Attempt::Refused],
        TIMEOUT,
    )
    .await;
    let refused = io::ErrorKind::ConnectionRefused;
    assert!(matches!(result, Err(Error::Io(error)) if error.kind() == refused));
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(sent, [0.0, 1.0, 3.0]);

    for attempts in [
        &[Attempt::Refused, Attempt::Silence, Attempt::Refused] as &[_],
        &[Attempt::Silence, Attempt::Refused, Attempt::Refused],
        &[
            Attempt::Refused,
            Attempt::Refused,
            Attempt::Datagrams(&[b""]),
        ],
    ] {
        let (result, _) = ask(attempts, TIMEOUT).await;
        assert!(matches!(result, Err(Error::TimedOut { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn empty_datagrams_are_ignored() {
    let (result, sent) = ask(&[Attempt::Datagrams(&[b"", b"", b"06:32:06"])], TIMEOUT).await;
    assert!(is_reply(&result), "{result:?}");
    assert_eq!(sent, [0.0]);

    let (result, sent) = ask(&[Attempt::Datagrams(&[b""]), REPLY], TIMEOUT).await;
    assert!(is_reply(&result), "{result:?}");
    assert_eq!(sent, [0.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn empty_datagrams_do_not_delay_the_next_attempt() {
    let start = Instant::now();
    let (result, sent) = ask(
        &[
            Attempt::EmptyForever,
            Attempt::EmptyForever,
            Attempt::EmptyForever,
        ],
        TIMEOUT,
    )
    .await;
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(sent, [0.0, 1.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn a_command_not_available_over_udp_is_rejected_at_once() {
    for command in [Command::Help, Command::Quit, Command::Exit] {
        let start = Instant::now();
        let network = Network::new(&[]);
        let rejected = ask_datagram(&network, command, TIMEOUT).await;
        assert!(matches!(rejected, Err(Error::NotOverUdp(rejected)) if rejected == command));
        assert_eq!((start.elapsed(), network.sent()), (Duration::ZERO, vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_exceed_the_range_of_the_clock() {
    let (result, _) = ask(&[Attempt::Silence, REPLY], Duration::MAX).await;
    assert!(is_reply(&result), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_matching_reply_is_accepted() {
    for attempts in [
        &[Attempt::Datagrams(&[b"Saturday"])] as &[_],
        &[Attempt::Datagrams(&[b"15"])],
        &[Attempt::Datagrams(&[b"You entered an invalid command"])],
    ] {
        let (result, _) = ask(attempts, TIMEOUT).await;
        assert!(matches!(result, Err(Error::Unexpected(_))), "{result:?}");
    }
    for attempts in [
        &[Attempt::Datagrams(&[b"06:32:06\n"])] as &[_],
        &[Attempt::Datagrams(&[
            b"06:32:06 and more text than any reply has",
        ])],
        &[Attempt::Datagrams(&[b"\xff"])],
    ] {
        let (result, _) = ask(attempts, TIMEOUT).await;
        assert!(matches!(result, Err(Error::UnknownReply(_))), "{result:?}");
    }
}
