//! Follows what the client library does with a connection, event by event.

use chime_client::Error;
use chime_protocol::{Framing, Reply};

use super::requests::{self, Requests};
use super::{CONNECT_TIMED_OUT, Usage, Wait, timed_out};
use crate::Failure;
use crate::trace::{ClientEvent, End, EventKind, Moment, StreamEvent};

/// Checks the use of the connection of an attempt. The client had `reply_count` replies before.
pub(super) fn check(usage: &Usage<'_>, reply_count: usize) -> Result<(), Failure> {
    let (Some(number), Some(connection)) = (usage.attempt.connection, usage.connection()) else {
        return Ok(());
    };
    let is_by_library = usage.run.listener(number).framing == Framing::Line;
    let (true, Some(connected)) = (is_by_library, connection.connected) else {
        return Ok(());
    };
    let mut dialogue = Dialogue {
        usage,
        wait: Wait::new(usage.timeout_ms, connected.at_ms),
        requests: requests::of(usage, reply_count),
        first_line: None,
        partial_line: Vec::new(),
        is_closed: false,
    };
    let dropped = connection.client_side.dropped;
    let end = usage.attempt.end.max(dropped.unwrap_or_default());
    let begin = usage
        .events
        .partition_point(|event| *event < connected.event);
    let events = usage.events[begin..].iter().copied();
    for event in events.take_while(|event| *event <= end.event) {
        let happened = &usage.run.index.trace.events[event];
        let at = Moment {
            event,
            at_ms: happened.at_ms,
        };
        match &happened.kind {
            EventKind::Stream {
                connection,
                end: End::Client,
                event,
            } if Some(*connection) == usage.attempt.connection => dialogue.stream(at, event)?,
            EventKind::Client { client, event } if *client == usage.client => {
                dialogue.client(at, event)?;
            }
            _ => {}
        }
    }
    dialogue.check_end(end)
}

/// The state of the client library.
struct Dialogue<'a> {
    usage: &'a Usage<'a>,
    wait: Wait,
    requests: Box<dyn Requests + 'a>,
    /// What was read up to the first line end: the welcome, or the full notice.
    first_line: Option<Vec<u8>>,
    /// What was read since the last line end.
    partial_line: Vec<u8>,
    /// Whether EOF was read, or the stream failed.
    is_closed: bool,
}

impl Dialogue<'_> {
    fn stream(&mut self, at: Moment, event: &StreamEvent) -> Result<(), Failure> {
        if let (None, StreamEvent::Wrote { .. } | StreamEvent::Blocked) = (&self.first_line, event)
        {
            // The library waits for the welcome once the PROXY header is sent.
            self.wait.begin(at.at_ms);
            return Ok(());
        }
        self.check_not_over(at)?;
        let (requests, wait) = (&mut self.requests, &mut self.wait);
        match event {
            StreamEvent::Wrote { bytes, is_short } => {
                requests.wrote(at.at_ms, bytes, *is_short, wait);
            }
            StreamEvent::Blocked => requests.blocked(at.at_ms, wait),
            StreamEvent::Shut => requests.shut(at.at_ms, wait),
            StreamEvent::Read(bytes) => self.read(at.at_ms, bytes),
            StreamEvent::ReadEnd | StreamEvent::Failed { .. } => self.is_closed = true,
            StreamEvent::Accepted { .. } | StreamEvent::Dropped => {}
        }
        Ok(())
    }

    fn read(&mut self, at_ms: u32, bytes: &[u8]) {
        self.partial_line.extend(bytes);
        let line_end = self.partial_line.iter().rposition(|byte| *byte == b'\n');
        if let Some(line_end) = line_end {
            let lines: Vec<_> = self.partial_line.drain(..=line_end).collect();
            if self.first_line.is_none() {
                self.first_line = Some(lines);
                self.wait.begin(at_ms);
                self.requests.greeted(at_ms);
            }
        }
    }

    fn client(&mut self, at: Moment, event: &ClientEvent) -> Result<(), Failure> {
        self.check_not_over(at)?;
        if let ClientEvent::Reply(reply) = event {
            self.requests.replied(at.at_ms, reply, &mut self.wait);
        }
        Ok(())
    }

    /// Whether the library waits for the server.
    fn is_waiting(&self) -> bool {
        self.first_line.is_none() || self.requests.is_waiting()
    }

    fn check_not_over(&self, at: Moment) -> Result<(), Failure> {
        match self.is_waiting() {
            true => self.wait.check_not_over(self.usage, at),
            false => Ok(()),
        }
    }

    fn is_full(&self) -> bool {
        let full = Reply::Full.to_string();
        let first_line = self.first_line.as_ref();
        first_line.is_some_and(|line| line.starts_with(full.as_bytes()))
    }

    /// Checks how the attempt ended.
    fn check_end(&self, end: Moment) -> Result<(), Failure> {
        let Some((event, error)) = self.usage.attempt.failed else {
            if self.is_full() || self.is_closed && !self.requests.may_end() {
                return self.usage.fail(end.event, "took an early EOF for the end");
            }
            return self.requests.check_end(self.usage, end);
        };
        if self.first_line.is_none() && error == CONNECT_TIMED_OUT {
            // The PROXY header could not be sent.
            return Ok(());
        }
        let is_timeout = !self.is_full() && !self.is_closed;
        let expected = match (self.is_full(), self.is_closed) {
            (true, _) => Error::Full.to_string(),
            (false, true) => Error::Closed.to_string(),
            (false, false) => timed_out(self.wait.timeout_ms, !self.partial_line.is_empty()),
        };
        if error != expected {
            let message = format!("failed with '{error}', expected '{expected}'");
            return self.usage.fail(event, message);
        }
        if is_timeout {
            if !self.is_waiting() {
                return self.usage.fail(event, "timed out without a wait");
            }
            self.wait.check_over(self.usage, end)?;
        }
        match self.first_line {
            Some(_) if !self.is_full() => self.requests.check_end(self.usage, end),
            _ => Ok(()),
        }
    }
}
