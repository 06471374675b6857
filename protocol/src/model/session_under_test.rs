//! A session driven through a script beside the model of it: what every check of a session is built on.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use chrono::NaiveDateTime;

use super::naive::{Answer, Conversation};
use super::script::{Readable, Script, Step};
use crate::{Framing, Progress, RequestCounts, Session, Status};

/// A run of a script: after every step the session has sent what the model has sent.
pub(super) struct SessionUnderTest<'a> {
    script: &'a Script,
    session: Session,
    model: Conversation,
    now: NaiveDateTime,
    output: Vec<u8>,
    sent: Vec<u8>,
    /// Requests that the session has counted.
    requests: u64,
}

impl<'a> SessionUnderTest<'a> {
    /// Starts a session with the script's server, in the model of which `answer` answers.
    pub(super) fn served(answer: Answer, script: &'a Script) -> SessionUnderTest<'a> {
        let session = Session::new(script.service, script.framing);
        let model = Conversation::new(answer, script.service, script.framing);
        SessionUnderTest::new(script, session, model)
    }

    /// Starts before the first step, with a session and the model of it.
    pub(super) fn new(
        script: &'a Script,
        session: Session,
        model: Conversation,
    ) -> SessionUnderTest<'a> {
        SessionUnderTest {
            script,
            session,
            model,
            now: Script::clock_at_start(),
            output: vec![0; Script::ROOM_AT_START],
            sent: Vec::new(),
            requests: 0,
        }
    }

    /// Takes one step, and returns what the session sends at it.
    ///
    /// The session is also run when there is nothing to read: it says what is due, and nothing twice.
    pub(super) fn step(&mut self, step: &Step) -> &[u8] {
        match step {
            Step::Clock(now) => self.now = *now,
            Step::Room(room) => self.output = vec![0; *room],
            Step::Read(bytes) => {
                self.model.read(bytes, self.now);
                return self.exchange(bytes, false);
            }
        }
        self.exchange(&[], false)
    }

    /// The client stops sending: returns what the session sends then.
    pub(super) fn end(&mut self) -> &[u8] {
        self.model.end(self.now);
        let start = self.sent.len();
        self.exchange(&[], true);
        self.exchange(b"day\n", false);
        self.exchange(&[], true);
        &self.sent[start..]
    }

    /// The script that is run.
    pub(super) fn script(&self) -> &'a Script {
        self.script
    }

    /// Whether the session asks to close the conversation.
    pub(super) fn is_closed(&self) -> bool {
        self.model.is_closed
    }

    /// The size of the buffers that the session writes to, in bytes.
    pub(super) fn room(&self) -> usize {
        self.output.len()
    }

    /// All that the session has sent.
    pub(super) fn into_sent(self) -> Vec<u8> {
        self.sent
    }

    /// Runs the session by its contract until it waits, and returns what it sends.
    fn exchange(&mut self, mut input: &[u8], is_last: bool) -> &[u8] {
        let start = self.sent.len();
        loop {
            let progress = match is_last {
                false => self.session.advance(input, &mut self.output, self.now),
                true => self.session.finish(&mut self.output, self.now),
            };
            self.check_progress(input, progress);
            // What has been sent is the model's so far, which is finite: the loop ends.
            let written = &self.output[..progress.written];
            let is_expected = self.model.sent[self.sent.len()..].starts_with(written);
            self.sent.extend(written);
            let RequestCounts {
                commands,
                digits,
                invalid,
            } = progress.requests;
            self.requests += commands.iter().sum::<u64>() + digits + invalid;
            input = &input[progress.read..];
            assert!(is_expected, "{}", self.report("wrong output"));
            match progress.status {
                Status::OutputFull => {}
                Status::NeedInput | Status::Closed => {
                    assert!(
                        (progress.status == Status::Closed) == self.model.is_closed,
                        "{}",
                        self.report(&format!("unexpected {:?}", progress.status))
                    );
                    break;
                }
            }
        }
        assert!(
            self.sent.len() == self.model.sent.len(),
            "{}",
            self.report("a reply is missing")
        );
        assert!(
            self.requests == self.model.requests,
            "{}",
            self.report("requests are miscounted")
        );
        assert!(
            self.session.has_partial_line() == self.model.has_partial_line(),
            "{}",
            self.report("has_partial_line is wrong")
        );
        &self.sent[start..]
    }

    /// Asserts that the status matches what was read and written, and that reads are not split.
    fn check_progress(&self, input: &[u8], progress: Progress) {
        let matches_status = match progress.status {
            Status::NeedInput => progress.read == input.len(),
            Status::OutputFull => progress.written == self.output.len(),
            Status::Closed => true,
        };
        let matches_framing = match self.script.framing {
            Framing::Line => progress.read <= input.len(),
            Framing::Read => [0, input.len()].contains(&progress.read),
        };
        assert!(
            matches_status && matches_framing,
            "{}",
            self.report(&format!(
                "{progress:?} of {} and {}",
                input.len(),
                self.room()
            ))
        );
    }

    fn report(&self, what: &str) -> String {
        format!(
            "{what}, in this script:\n\n{}\nexpected: {}\ngot:      {}\n",
            self.script,
            Readable(&self.model.sent),
            Readable(&self.sent),
        )
    }
}
