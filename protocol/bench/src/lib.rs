//! The workload of the benchmarks: requests, and a server without I/O.

use std::hint::black_box;

use chime_model::Script;
use chime_protocol::{DATAGRAM_MAX, Framing, Service, Session, Status, answer_datagram};
use chrono::NaiveDateTime;

/// One datagram of each command, and one that gets no reply.
pub const DATAGRAMS: [&str; 5] = ["day\n", "date\n", "time\n", "send time\n", "what?\n"];

/// The size of the output buffer in bytes.
const OUTPUT_SIZE: usize = 16 << 10;

/// A server without a network, which discards its output.
pub struct Server {
    now: NaiveDateTime,
    output: [u8; OUTPUT_SIZE],
}

/// A server with a clock that the compiler cannot evaluate.
impl Default for Server {
    fn default() -> Server {
        Server {
            now: black_box(Script::clock_at_start()),
            output: [0; OUTPUT_SIZE],
        }
    }
}

impl Server {
    /// Returns a session that has sent the welcome.
    pub fn welcomed(&mut self) -> Session {
        let mut session = Session::new(Service::Both, Framing::Line);
        self.converse(&mut session, b"");
        session
    }

    /// Runs `session` until it has read all of `input` or closes.
    pub fn converse(&mut self, session: &mut Session, mut input: &[u8]) {
        loop {
            let progress = session.advance(black_box(input), &mut self.output, self.now);
            black_box(&self.output[..progress.written]);
            input = &input[progress.read..];
            if progress.status != Status::OutputFull {
                return;
            }
        }
    }

    /// Runs a whole conversation, from the welcome to the farewell.
    pub fn serve(&mut self) {
        let mut session = self.welcomed();
        self.converse(&mut session, b"day\n12345\nquit\n");
        black_box(session);
    }

    /// Replies to one datagram.
    pub fn serve_datagram(&mut self, request: &str) {
        let mut buffer = [0; DATAGRAM_MAX];
        black_box(answer_datagram(
            black_box(request.as_bytes()),
            self.now,
            &mut buffer,
        ));
    }
}
