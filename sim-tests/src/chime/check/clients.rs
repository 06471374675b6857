//! Checks the client library: how long it waits for the server, its errors, and when it half-closes or sends again.
//!
//! Its timers are those of the simulation, so all times are exact.

mod coverage;
mod dialogue;
mod requests;

use std::fmt;
use std::time::Duration;

use chime_client::Error;
use chime_protocol::{Command, Reply};

use super::Run;
use crate::Failure;
use crate::chime::clients::RECOVERY_COMMAND;
use crate::chime::{Behaviour, Timeout};
use crate::trace::{Attempt, Connection, Datagram, End, EventKind, Moment, Peer};

pub(super) use coverage::note;

/// When the client library sends a request by datagram, after the begin of the attempt.
const SENDS_MS: [u32; 3] = [0, 1_000, 3_000];

/// When it gives up a request by datagram, if its timeout is not earlier.
const GIVES_UP_MS: u32 = 7_000;

/// The error of a connect, or of a PROXY header, that times out.
const CONNECT_TIMED_OUT: &str = "timed out";

/// Checks every attempt of the client library.
pub(super) fn check(run: &Run<'_>) -> Result<(), Failure> {
    let events = events_by_client(run);
    for (client, of_client) in run.index.clients.iter().enumerate() {
        let Some(timeout_ms) = timeout_ms(run, client) else {
            continue;
        };
        let (mut request_count, mut reply_count) = (0, 0);
        for attempt in &of_client.attempts {
            let usage = Usage {
                run,
                client,
                attempt,
                timeout_ms,
                events: &events[client],
            };
            if attempt.is_by_datagram {
                usage.check_datagrams(request_count)?;
                request_count += 1;
            } else {
                usage.check_connect()?;
                dialogue::check(&usage, reply_count)?;
                reply_count += attempt.replies.len();
            }
        }
    }
    Ok(())
}

/// Returns whether the client library gave up an attempt at its timeout.
pub(super) fn has_timed_out(run: &Run<'_>, client: usize, attempt: &Attempt<'_>) -> bool {
    let (Some(timeout_ms), Some((_, error))) = (timeout_ms(run, client), attempt.failed) else {
        return false;
    };
    let timeout_ms = match attempt.is_by_datagram {
        true => timeout_ms.min(GIVES_UP_MS),
        false => timeout_ms,
    };
    let errors = [false, true].map(|mid_line| timed_out(timeout_ms, mid_line));
    error == CONNECT_TIMED_OUT || errors.iter().any(|timed_out| timed_out == error)
}

/// The timeout of the client library, if this client uses it.
fn timeout_ms(run: &Run<'_>, client: usize) -> Option<u32> {
    let timeout = match run.behaviour(client) {
        Some(behaviour) => behaviour.timeout()?,
        None => Timeout::default(),
    };
    Some(timeout.0)
}

/// The text of the error of a timeout.
fn timed_out(after_ms: u32, mid_line: bool) -> String {
    let after = Duration::from_millis(after_ms.into());
    Error::TimedOut { after, mid_line }.to_string()
}

/// The events of each client, and of its ends of connections.
fn events_by_client(run: &Run<'_>) -> Vec<Vec<usize>> {
    let mut by_client = vec![Vec::new(); run.index.clients.len()];
    for (event, happened) in run.index.trace.events.iter().enumerate() {
        let client = match &happened.kind {
            EventKind::Client { client, .. } => Some(*client),
            EventKind::Stream {
                connection,
                end: End::Client,
                ..
            } => run.whole.connections[connection].client,
            _ => None,
        };
        if let Some(client) = client {
            by_client[client].push(event);
        }
    }
    by_client
}

/// An attempt of the client library.
struct Usage<'a> {
    run: &'a Run<'a>,
    client: usize,
    attempt: &'a Attempt<'a>,
    timeout_ms: u32,
    /// The events of the client.
    events: &'a [usize],
}

impl Usage<'_> {
    fn fail<T>(&self, event: usize, message: impl fmt::Display) -> Result<T, Failure> {
        let message = format!("the library of client {}: {message}", self.client);
        Err(Failure::new(message, event))
    }

    /// The connection, if it has a conversation.
    fn connection(&self) -> Option<&Connection<'_>> {
        self.run.index.connections.get(&self.attempt.connection?)
    }

    /// Checks that the connect ends within the timeout, or fails then.
    fn check_connect(&self) -> Result<(), Failure> {
        let wait = Wait::new(self.timeout_ms, self.attempt.begin.at_ms);
        if self.attempt.connection.is_some() && self.connection().is_none() {
            return Ok(());
        }
        let connected = self.connection().and_then(|it| it.connected);
        let ended = connected.unwrap_or(self.attempt.end);
        wait.check_not_over(self, ended)?;
        match self.attempt.failed {
            Some((_, CONNECT_TIMED_OUT)) if connected.is_none() => wait.check_over(self, ended),
            _ => Ok(()),
        }
    }

    /// Checks a request by datagram: when it is sent, and its result. `number` counts the requests of the client.
    fn check_datagrams(&self, number: usize) -> Result<(), Failure> {
        let Attempt { begin, end, .. } = *self.attempt;
        let timeout_ms = self.timeout_ms.min(GIVES_UP_MS);
        let peer = Peer::Client(self.client);
        let is_here = |at: Moment| (begin..=end).contains(&at);
        let datagrams = || self.run.index.datagrams.values();

        let sent = datagrams().filter(|datagram| {
            datagram.by == peer && !datagram.is_duplicate && is_here(datagram.sent)
        });
        let sent_ms: Vec<_> = sent
            .map(|datagram| datagram.sent.at_ms - begin.at_ms)
            .collect();
        let lasted_ms = end.at_ms - begin.at_ms;
        let due = SENDS_MS.iter().filter(|send_ms| **send_ms < timeout_ms);
        // It is not sent again in the millisecond of the reply.
        let due_ms: Vec<_> = due
            .filter(|send_ms| **send_ms == 0 || **send_ms < lasted_ms)
            .copied()
            .collect();
        if sent_ms != due_ms {
            let message = format!("sent its request after {sent_ms:?} ms, expected {due_ms:?}");
            return self.fail(end.event, message);
        }

        let wait = Wait::new(timeout_ms, begin.at_ms);
        wait.check_not_over(self, end)?;
        let arrived = datagrams().filter(|datagram| {
            datagram.by == Peer::Server
                && datagram.receiver == Some(peer)
                && datagram.received.is_some_and(is_here)
                && !datagram.bytes.is_empty()
        });
        let first = arrived.min_by_key(|datagram| datagram.received);
        let expected = match first {
            Some(datagram) => self.result(number, datagram),
            None => timed_out(timeout_ms, false),
        };
        let reply = self.attempt.replies.last();
        let result = self.attempt.failed.or(reply.copied());
        if result.is_none_or(|(_, result)| result != expected) {
            let message = format!("returned {result:?}, expected '{expected}'");
            return self.fail(end.event, message);
        }
        match first {
            Some(_) => Ok(()),
            None => wait.check_over(self, end),
        }
    }

    /// The reply in a datagram, or the error, as text.
    fn result(&self, number: usize, datagram: &Datagram<'_>) -> String {
        let name = match self.run.behaviour(self.client) {
            Some(Behaviour::AskDatagrams { commands, .. }) => &commands[number],
            _ => RECOVERY_COMMAND,
        };
        let mut commands = Command::time_commands();
        let command = commands.find(|command| command.name() == name);
        match Reply::parse(datagram.bytes) {
            Some(reply) if command.is_some_and(|command| command.is_answered_by(reply)) => {
                reply.to_string()
            }
            Some(reply) => Error::Unexpected(reply).to_string(),
            None => Error::UnknownReply(datagram.bytes.to_vec()).to_string(),
        }
    }
}

/// A wait for the server.
struct Wait {
    timeout_ms: u32,
    /// When it began: the earliest and the latest time.
    began_ms: [u32; 2],
}

impl Wait {
    fn new(timeout_ms: u32, began_ms: u32) -> Wait {
        Wait {
            timeout_ms,
            began_ms: [began_ms; 2],
        }
    }

    /// Begins anew.
    fn begin(&mut self, at_ms: u32) {
        self.began_ms = [at_ms; 2];
    }

    /// Begins anew, or not.
    fn may_begin(&mut self, at_ms: u32) {
        self.began_ms[1] = at_ms;
    }

    fn check_not_over(&self, usage: &Usage<'_>, at: Moment) -> Result<(), Failure> {
        let waited_ms = at.at_ms.saturating_sub(self.began_ms[1]);
        match waited_ms <= self.timeout_ms {
            true => Ok(()),
            false => self.fail(usage, at, waited_ms),
        }
    }

    fn check_over(&self, usage: &Usage<'_>, at: Moment) -> Result<(), Failure> {
        let waited_ms = at.at_ms.saturating_sub(self.began_ms[0]);
        match waited_ms >= self.timeout_ms {
            true => Ok(()),
            false => self.fail(usage, at, waited_ms),
        }
    }

    fn fail(&self, usage: &Usage<'_>, at: Moment, waited_ms: u32) -> Result<(), Failure> {
        let timeout_ms = self.timeout_ms;
        let message = format!("waited for {waited_ms} ms, its timeout is {timeout_ms} ms");
        usage.fail(at.event, message)
    }
}
