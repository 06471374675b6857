//! What is measured: requests, and a server that answers them.

use std::hint::black_box;

use chime_protocol::model::Script;
use chime_protocol::{DATAGRAM_MAX, Framing, Service, Session, Status, answer_datagram};
use chrono::NaiveDateTime;

/// The datagrams of a client, and one that is ignored.
pub(crate) const DATAGRAMS: [&str; 5] = ["day\n", "date\n", "time\n", "send time\n", "what?\n"];

/// The room for replies in one call, in bytes.
const ROOM: usize = 16 << 10;

/// A server's side of conversations, without a network: what it sends is dropped.
pub(crate) struct Server {
    now: NaiveDateTime,
    output: [u8; ROOM],
}

impl Server {
    /// Starts with a time that the compiler does not know.
    pub(crate) fn new() -> Server {
        Server {
            now: black_box(Script::clock_at_start()),
            output: [0; ROOM],
        }
    }

    /// A session that has welcomed its client.
    pub(crate) fn welcomed(&mut self) -> Session {
        let mut session = Session::new(Service::Both, Framing::Line);
        self.converse(&mut session, b"");
        session
    }

    /// Has `session` read all of `input`, or close.
    pub(crate) fn converse(&mut self, session: &mut Session, mut input: &[u8]) {
        loop {
            let progress = session.advance(black_box(input), &mut self.output, self.now);
            black_box(&self.output[..progress.written]);
            input = &input[progress.read..];
            if progress.status != Status::OutputFull {
                return;
            }
        }
    }

    /// Holds a whole conversation, from the welcome to the farewell.
    pub(crate) fn serve(&mut self) {
        let mut session = self.welcomed();
        self.converse(&mut session, b"day\n12345\nquit\n");
        black_box(session);
    }

    /// Answers one datagram.
    pub(crate) fn answer(&mut self, request: &str) {
        let mut buffer = [0; DATAGRAM_MAX];
        black_box(answer_datagram(
            black_box(request.as_bytes()),
            self.now,
            &mut buffer,
        ));
    }
}
