//! Follows the requests of the client library on a connection: when a reply is due, and since when it waits.

use chime_model::naive::{self, Conversation};
use chime_protocol::{Framing, Reply, Request, Service};
use chrono::NaiveDateTime;

use super::{Usage, Wait};
use crate::Failure;
use crate::chime::Behaviour;
use crate::chime::clients::RECOVERY_LINES;
use crate::scenario::Text;
use crate::trace::Moment;

/// The requests of an attempt.
pub(super) trait Requests {
    /// Adds the welcome.
    fn greeted(&mut self, _: u32) {}

    /// Adds a write. A short one left bytes to write.
    fn wrote(&mut self, at_ms: u32, bytes: &[u8], is_short: bool, wait: &mut Wait);

    /// Adds a write that waits.
    fn blocked(&mut self, _: u32, _: &mut Wait) {}

    /// Adds the half-close.
    fn shut(&mut self, _: u32, _: &mut Wait) {}

    /// Adds a reply that the library returned.
    fn replied(&mut self, at_ms: u32, reply: &str, wait: &mut Wait);

    /// Whether the library waits for the server.
    fn is_waiting(&self) -> bool;

    /// Whether an EOF is no error.
    fn may_end(&self) -> bool;

    /// Checks the requests after the end of the attempt.
    fn check_end(&self, _: &Usage<'_>, _: Moment) -> Result<(), Failure> {
        Ok(())
    }
}

/// The requests of an attempt of a client that had `reply_count` replies before.
pub(super) fn of<'a>(usage: &Usage<'a>, reply_count: usize) -> Box<dyn Requests + 'a> {
    let lines: Vec<&str> = match usage.run.behaviour(usage.client) {
        Some(Behaviour::Pipe {
            chunks, pause_ms, ..
        }) => {
            let begin_ms = usage.attempt.begin.at_ms;
            return Box::new(Pipe::new(chunks, *pause_ms, begin_ms));
        }
        Some(Behaviour::Ask { lines, .. }) => lines.iter().map(String::as_str).collect(),
        _ => RECOVERY_LINES.into(),
    };
    Box::new(Ask {
        lines: lines.into_iter().skip(reply_count).collect(),
        is_waiting: false,
        partial_ms: None,
    })
}

/// Requests, one at a time.
struct Ask<'a> {
    /// Those without a reply.
    lines: Vec<&'a str>,
    is_waiting: bool,
    /// When it wrote a part of a request, and has neither written nor waited since.
    partial_ms: Option<u32>,
}

impl Ask<'_> {
    fn request(&self) -> Option<Request> {
        self.lines.first().map(|line| Request::of_line(line))
    }
}

impl Requests for Ask<'_> {
    fn wrote(&mut self, at_ms: u32, bytes: &[u8], is_short: bool, wait: &mut Wait) {
        self.partial_ms = is_short.then_some(at_ms);
        // Digits are sent as a stream: the wait begins anew with each write before the line end.
        let is_stream = matches!(self.request(), Some(Request::Digits(_))) && bytes != b"\n";
        if is_stream || !self.is_waiting {
            wait.begin(at_ms);
        }
        self.is_waiting = true;
    }

    fn blocked(&mut self, _: u32, _: &mut Wait) {
        self.partial_ms = None;
    }

    fn replied(&mut self, _: u32, _: &str, _: &mut Wait) {
        self.is_waiting = false;
        self.lines = self.lines.split_off(1.min(self.lines.len()));
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    fn may_end(&self) -> bool {
        self.request().is_none_or(Request::is_quit)
    }

    /// Checks that the library has written whole requests.
    fn check_end(&self, usage: &Usage<'_>, end: Moment) -> Result<(), Failure> {
        match self.partial_ms.filter(|at_ms| *at_ms < end.at_ms) {
            Some(at_ms) => {
                let message = format!("did not write the rest of its request at {at_ms} ms");
                usage.fail(end.event, message)
            }
            None => Ok(()),
        }
    }
}

/// Requests that are sent ahead of their replies.
struct Pipe {
    /// The lengths of the input at the begin and at the ends of its chunks.
    chunk_ends: Vec<usize>,
    /// The length of what is sent: up to a request to quit, or all.
    length: usize,
    /// When the input ends, unless a request to quit ends it before.
    end_ms: u32,
    /// What the server makes of the bytes that were written.
    conversation: Conversation,
    written: usize,
    /// When the library was greeted, or wrote last.
    written_ms: u32,
    has_unsent: bool,
    reply_count: u64,
    shut_ms: Option<u32>,
}

impl Pipe {
    fn new(chunks: &[Text], pause_ms: u32, begin_ms: u32) -> Pipe {
        let new = || Conversation::new(naive::answer, Service::Both, Framing::Line);
        let (mut length, mut chunk_ends) = (0, vec![0]);
        let (mut conversation, mut end_ms) = (new(), begin_ms);
        for (index, chunk) in chunks.iter().enumerate() {
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                if !conversation.is_closed {
                    conversation.read(line, NaiveDateTime::MIN);
                    length += line.len();
                }
            }
            chunk_ends.push(length);
            if index > 0 && !conversation.is_closed {
                end_ms += pause_ms;
            }
        }
        Pipe {
            chunk_ends,
            length,
            end_ms,
            conversation: new(),
            written: 0,
            written_ms: 0,
            has_unsent: false,
            reply_count: 0,
            shut_ms: None,
        }
    }

    fn is_reply_due(&self) -> bool {
        // The reply to a request to quit is not due: not all services send one.
        let request_count = self.conversation.requests - u64::from(self.conversation.is_closed);
        request_count > self.reply_count
    }
}

impl Requests for Pipe {
    fn greeted(&mut self, at_ms: u32) {
        self.written_ms = at_ms;
    }

    fn wrote(&mut self, at_ms: u32, bytes: &[u8], is_short: bool, wait: &mut Wait) {
        if !self.is_reply_due() {
            wait.begin(at_ms);
        }
        self.conversation.read(bytes, NaiveDateTime::MIN);
        self.written += bytes.len();
        self.written_ms = at_ms;
        self.has_unsent = is_short;
    }

    fn blocked(&mut self, at_ms: u32, wait: &mut Wait) {
        // More input may have been read just before.
        if !self.is_reply_due() && self.chunk_ends.contains(&self.written) {
            wait.may_begin(at_ms);
        }
        self.has_unsent = true;
    }

    fn shut(&mut self, at_ms: u32, wait: &mut Wait) {
        if !self.is_reply_due() {
            wait.begin(at_ms);
        }
        if self.conversation.has_partial_line() {
            self.conversation.read(b"\n", NaiveDateTime::MIN);
        }
        self.shut_ms = Some(at_ms);
    }

    fn replied(&mut self, at_ms: u32, reply: &str, wait: &mut Wait) {
        wait.begin(at_ms);
        self.reply_count += u64::from(reply != Reply::Farewell.to_string());
    }

    fn is_waiting(&self) -> bool {
        self.has_unsent || self.is_reply_due() || self.shut_ms.is_some()
    }

    fn may_end(&self) -> bool {
        self.written == self.length && !self.is_reply_due()
    }

    /// Checks that the library half-closes as soon as the input has ended and is sent.
    fn check_end(&self, usage: &Usage<'_>, end: Moment) -> Result<(), Failure> {
        let due_ms = self.written_ms.max(self.end_ms);
        let shut_ms = self.shut_ms.unwrap_or(end.at_ms);
        if self.written == self.length && shut_ms > due_ms {
            let message = format!("did not half-close at {due_ms} ms, when its input ended");
            return usage.fail(end.event, message);
        }
        Ok(())
    }
}
