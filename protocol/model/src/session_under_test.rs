//! A session and the model driven through the same script: the base of every check of a session.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use chrono::NaiveDateTime;

use super::naive::{Answer, Conversation};
use super::script::{Escaped, Script, Step};
use chime_protocol::{Framing, Progress, Session, Status};

/// One run of a script. After every step, it asserts that the session has sent the same bytes as the model.
pub(super) struct SessionUnderTest<'a> {
    script: &'a Script,
    session: Session,
    model: Conversation,
    now: NaiveDateTime,
    output: Vec<u8>,
    sent: Vec<u8>,
    /// The number of requests that the session has counted.
    requests: u64,
}

impl<'a> SessionUnderTest<'a> {
    /// Starts a session with the script's service and framing, and a model that replies with `answer`.
    pub(super) fn new(answer: Answer, script: &'a Script) -> SessionUnderTest<'a> {
        let session = Session::new(script.service, script.framing);
        let model = Conversation::new(answer, script.service, script.framing);
        SessionUnderTest::with_session(script, session, model)
    }

    /// Starts a session and its model before the first step.
    pub(super) fn with_session(
        script: &'a Script,
        session: Session,
        model: Conversation,
    ) -> SessionUnderTest<'a> {
        SessionUnderTest {
            script,
            session,
            model,
            now: Script::clock_at_start(),
            output: vec![0; Script::INITIAL_OUTPUT_SIZE],
            sent: Vec::new(),
            requests: 0,
        }
    }

    /// Runs one step, and returns the bytes that the session sends.
    ///
    /// The session also runs after a step without input, and must not send anything twice.
    pub(super) fn step(&mut self, step: &Step) -> &[u8] {
        match step {
            Step::Clock(now) => self.now = *now,
            Step::Room(size) => self.output = vec![0; *size],
            Step::Read(bytes) => {
                self.model.read(bytes, self.now);
                return self.run(bytes, false);
            }
        }
        self.run(&[], false)
    }

    /// Ends the input, checks that later calls send nothing, and returns the bytes that the session sends.
    pub(super) fn end(&mut self) -> &[u8] {
        self.model.end(self.now);
        let start = self.sent.len();
        self.run(&[], true);
        self.run(b"day\n", false);
        self.run(&[], true);
        &self.sent[start..]
    }

    /// Returns the script.
    pub(super) fn script(&self) -> &'a Script {
        self.script
    }

    /// Returns whether the session has closed the conversation.
    pub(super) fn is_closed(&self) -> bool {
        self.model.is_closed
    }

    /// Returns the size of the output buffers in bytes.
    pub(super) fn output_size(&self) -> usize {
        self.output.len()
    }

    /// Returns all bytes that the session has sent.
    pub(super) fn into_sent(self) -> Vec<u8> {
        self.sent
    }

    /// Runs the session until it needs input or closes, and returns the bytes that it sends.
    fn run(&mut self, mut input: &[u8], is_last: bool) -> &[u8] {
        let start = self.sent.len();
        loop {
            let progress = match is_last {
                false => self.session.advance(input, &mut self.output, self.now),
                true => self.session.finish(&mut self.output, self.now),
            };
            self.check_progress(input, progress);
            // The model's output is finite and the session cannot send more, so the loop ends.
            let sent_before = self.sent.len();
            self.sent.extend(&self.output[..progress.written]);
            assert!(
                self.model.sent[sent_before..].starts_with(&self.sent[sent_before..]),
                "{}",
                self.report("wrong output")
            );
            self.requests += progress.requests.total();
            input = &input[progress.read..];
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

    /// Asserts that the status matches the bytes read and written, and that framing `read` splits no reads.
    fn check_progress(&self, input: &[u8], progress: Progress) {
        let (input, output) = (input.len(), self.output.len());
        let report = || {
            self.report(&format!(
                "{progress:?} with {input} bytes of input and {output} of output"
            ))
        };
        match progress.status {
            Status::NeedInput => assert!(progress.read == input, "{}", report()),
            Status::OutputFull => assert!(progress.written == output, "{}", report()),
            Status::Closed => {}
        }
        match self.script.framing {
            Framing::Line => assert!(progress.read <= input, "{}", report()),
            Framing::Read => assert!([0, input].contains(&progress.read), "{}", report()),
        }
    }

    fn report(&self, what: &str) -> String {
        format!(
            "{what}, in this script:\n\n{}\nexpected: {}\ngot:      {}\n",
            self.script,
            Escaped(&self.model.sent),
            Escaped(&self.sent),
        )
    }
}
