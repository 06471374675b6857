//! Questions over datagrams that get lost, come late, or are not answers.

use std::cell::{Cell, RefCell};
use std::future;
use std::io;
use std::time::Duration;

use chime_client::{Datagrams, Error, ask_datagram};
use chime_protocol::{Command, Reply};
use tokio::time::{Instant, sleep};

use crate::TIMEOUT;

/// What happens to each try; after the last, nothing more does.
struct Network {
    tries: &'static [Try],
    start: Instant,
    /// When each request was sent, in seconds.
    sent: RefCell<Vec<f64>>,
    received: Cell<usize>,
}

enum Try {
    Silence,
    Refused,
    Unreachable,
    Datagrams(&'static [&'static [u8]]),
    /// An empty datagram again and again, after less than any wait for an answer.
    EmptyForEver,
}

impl Network {
    fn new(tries: &'static [Try]) -> Network {
        Network {
            tries,
            start: Instant::now(),
            sent: RefCell::default(),
            received: Cell::new(0),
        }
    }

    fn sent(self) -> Vec<f64> {
        self.sent.into_inner()
    }

    fn current(&self) -> &'static Try {
        let number = self.sent.borrow().len() - 1;
        self.tries.get(number).unwrap_or(&Try::Silence)
    }
}

impl Datagrams for Network {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        assert_eq!(datagram, b"time");
        let seconds = self.start.elapsed().as_secs_f64();
        self.sent.borrow_mut().push(seconds);
        self.received.set(0);
        match self.current() {
            Try::Unreachable => Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => Ok(()),
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagrams = match self.current() {
            Try::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Try::Datagrams(datagrams) => datagrams,
            Try::EmptyForEver => {
                sleep(Duration::from_millis(300)).await;
                return Ok(0);
            }
            Try::Silence | Try::Unreachable => return future::pending().await,
        };
        let Some(datagram) = datagrams.get(self.received.replace(self.received.get() + 1)) else {
            return future::pending().await;
        };
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

const ANSWER: Try = Try::Datagrams(&[b"06:32:06"]);

/// The answer, and when the requests for it were sent.
async fn ask(tries: &'static [Try], timeout: Duration) -> (Result<Reply, Error>, Vec<f64>) {
    let network = Network::new(tries);
    let answer = ask_datagram(&network, Command::Time, timeout).await;
    (answer, network.sent())
}

fn is_answer(result: &Result<Reply, Error>) -> bool {
    matches!(result, Ok(reply @ Reply::Time(_)) if reply.to_string() == "06:32:06")
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_sent_again() {
    for (tries, times) in [
        (&[ANSWER] as &[_], &[0.0] as &[_]),
        (&[Try::Silence, ANSWER], &[0.0, 1.0]),
        (&[Try::Silence, Try::Silence, ANSWER], &[0.0, 1.0, 3.0]),
        (&[Try::Refused, ANSWER], &[0.0, 1.0]),
        (&[Try::Unreachable, ANSWER], &[0.0, 1.0]),
    ] {
        let (result, sent) = ask(tries, TIMEOUT).await;
        assert!(is_answer(&result), "{result:?}");
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
async fn the_timeout_bounds_all_tries_together() {
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
async fn refused_is_the_error_when_every_try_was() {
    let start = Instant::now();
    let (result, sent) = ask(&[Try::Unreachable, Try::Refused, Try::Refused], TIMEOUT).await;
    let refused = io::ErrorKind::ConnectionRefused;
    assert!(matches!(result, Err(Error::Io(error)) if error.kind() == refused));
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(sent, [0.0, 1.0, 3.0]);

    for tries in [
        &[Try::Refused, Try::Silence, Try::Refused] as &[_],
        &[Try::Silence, Try::Refused, Try::Refused],
        &[Try::Refused, Try::Refused, Try::Datagrams(&[b""])],
    ] {
        let (result, _) = ask(tries, TIMEOUT).await;
        assert!(matches!(result, Err(Error::TimedOut { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_datagram_is_no_answer() {
    let (result, sent) = ask(&[Try::Datagrams(&[b"", b"", b"06:32:06"])], TIMEOUT).await;
    assert!(is_answer(&result), "{result:?}");
    assert_eq!(sent, [0.0]);

    let (result, sent) = ask(&[Try::Datagrams(&[b""]), ANSWER], TIMEOUT).await;
    assert!(is_answer(&result), "{result:?}");
    assert_eq!(sent, [0.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn empty_datagrams_do_not_put_off_the_next_try() {
    let start = Instant::now();
    let (result, sent) = ask(
        &[Try::EmptyForEver, Try::EmptyForEver, Try::EmptyForEver],
        TIMEOUT,
    )
    .await;
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    assert_eq!(sent, [0.0, 1.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_udp_does_not_serve_is_refused_at_once() {
    for command in [Command::Help, Command::Quit, Command::Exit] {
        let start = Instant::now();
        let network = Network::new(&[]);
        let refused = ask_datagram(&network, command, TIMEOUT).await;
        assert!(matches!(refused, Err(Error::NotOverUdp(refused)) if refused == command));
        assert_eq!((start.elapsed(), network.sent()), (Duration::ZERO, vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_be_longer_than_any_clock() {
    let (result, _) = ask(&[Try::Silence, ANSWER], Duration::MAX).await;
    assert!(is_answer(&result), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_fitting_reply_is_an_answer() {
    for tries in [
        &[Try::Datagrams(&[b"Saturday"])] as &[_],
        &[Try::Datagrams(&[b"15"])],
        &[Try::Datagrams(&[b"You entered an invalid command"])],
    ] {
        let (result, _) = ask(tries, TIMEOUT).await;
        assert!(matches!(result, Err(Error::Unexpected(_))), "{result:?}");
    }
    for tries in [
        &[Try::Datagrams(&[b"06:32:06\n"])] as &[_],
        &[Try::Datagrams(&[
            b"06:32:06 and what is more, a great deal of text",
        ])],
        &[Try::Datagrams(&[b"\xff"])],
    ] {
        let (result, _) = ask(tries, TIMEOUT).await;
        assert!(matches!(result, Err(Error::UnknownReply(_))), "{result:?}");
    }
}
