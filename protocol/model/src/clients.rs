//! Checks of the client's side: against a server of this protocol, and against arbitrary bytes.

use std::collections::VecDeque;
use std::string::ToString;
use std::vec::Vec;

use super::naive::{self, Line};
use super::script::{Escaped, Script, Step};
use super::session_under_test::SessionUnderTest;
use chime_protocol::{Command, Framing, Reply, ReplyDecoder, Request, RequestDecoder, Service};

/// Checks that a [`ReplyDecoder`] and the model decode arbitrary server bytes alike.
///
/// The bytes arrive in pieces of the lengths `cuts`, then the rest in one piece. The two are compared after
/// every piece.
pub fn check_replies(bytes: &[u8], cuts: &[usize]) {
    check_replies_against(naive::parse_reply, bytes, cuts);
}

/// [`check_replies`] against the given model, for canary tests.
pub fn check_replies_against(model: naive::ParseReply, bytes: &[u8], cuts: &[usize]) {
    let mut replies = ReplyDecoder::new();
    let mut unread = Vec::new();
    let mut rest = bytes;
    for length in cuts.iter().copied().chain([bytes.len()]) {
        let (mut piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        unread.extend(piece);
        while let Some(line) = naive::next_line(&mut unread) {
            check_line(model, bytes, &line, replies.next(&mut piece));
        }
        assert_eq!(
            replies.next(&mut piece),
            None,
            "an unexpected reply in {}",
            Escaped(bytes)
        );
        assert_eq!(piece, b"", "unread bytes of {}", Escaped(bytes));
        assert_eq!(replies.unfinished(), unread, "in {}", Escaped(bytes));
    }
}

/// Checks a client against a server of this protocol: each request gets one reply, in order and of the matching
/// kind.
///
/// The server receives the reads of `script`. The client receives the replies in pieces of the output buffer
/// size. The framing is always `line`.
pub fn check_client_against_server(script: &Script) {
    check_client_against_server_with(is_reply_to, script);
}

/// [`check_client_against_server`] with the given predicate for matching replies, for canary tests.
pub fn check_client_against_server_with(
    is_reply_to: fn(Service, Request, Reply) -> bool,
    script: &Script,
) {
    let script = Script {
        framing: Framing::Line,
        ..script.clone()
    };
    let mut server = SessionUnderTest::new(naive::answer, &script);
    let mut client = Client {
        script: &script,
        is_reply_to,
        requests: RequestDecoder::new(),
        pending: VecDeque::new(),
        replies: ReplyDecoder::new(),
        received: 0,
        has_quit: false,
    };
    for step in &script.steps {
        if let Step::Read(bytes) = step {
            client.send(bytes);
        }
        let output_size = server.output_size();
        client.receive(server.step(step).chunks(output_size));
        assert!(
            client.has_every_reply(),
            "a reply is missing in\n\n{script}"
        );
        assert_eq!(server.is_closed(), client.has_quit, "in\n\n{script}");
    }
    client.finish();
    let output_size = server.output_size();
    client.receive(server.end().chunks(output_size));
    assert!(
        client.has_every_reply(),
        "a reply is missing in\n\n{script}"
    );
}

/// A client that pipelines requests and checks each reply against its request.
struct Client<'a> {
    script: &'a Script,
    is_reply_to: fn(Service, Request, Reply) -> bool,
    requests: RequestDecoder,
    pending: VecDeque<Request>,
    replies: ReplyDecoder,
    received: usize,
    has_quit: bool,
}

impl Client<'_> {
    fn send(&mut self, mut bytes: &[u8]) {
        while !self.has_quit
            && let Some(request) = self.requests.next(&mut bytes)
        {
            self.expect_reply(request);
        }
    }

    fn finish(&mut self) {
        let last = self.requests.finish().filter(|_| !self.has_quit);
        last.into_iter()
            .for_each(|request| self.expect_reply(request));
    }

    fn expect_reply(&mut self, request: Request) {
        self.has_quit = request.is_quit();
        if !self.has_quit || self.script.service != Service::DateTime {
            self.pending.push_back(request);
        }
    }

    fn receive<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        for mut piece in pieces {
            while let Some(reply) = self.replies.next(&mut piece) {
                let reply = reply.expect("the server sends only replies of this protocol");
                self.check_reply(reply);
            }
        }
    }

    fn check_reply(&mut self, reply: Reply) {
        self.received += 1;
        let script = self.script;
        if self.received == 1 {
            return assert_eq!(reply, Reply::Welcome, "no welcome in\n\n{script}");
        }
        let request = self.pending.pop_front();
        assert!(
            request.is_some_and(|request| (self.is_reply_to)(script.service, request, reply)),
            "{reply:?} is not a reply to {request:?} in\n\n{script}"
        );
    }

    /// Whether the welcome and the reply to every request have arrived.
    fn has_every_reply(&self) -> bool {
        self.received > 0 && self.pending.is_empty() && self.replies.unfinished().is_empty()
    }
}

/// Whether `reply` is a possible reply to `request`.
fn is_reply_to(service: Service, request: Request, reply: Reply) -> bool {
    use Command::{Date, Day, Exit, Help, Quit, SendTime, Time};

    let is_offered = match request {
        Request::Command(Quit | Exit) => true,
        Request::Command(Day | Date | Time) => service != Service::DigitSum,
        Request::Command(SendTime | Help) => service == Service::Both,
        Request::Digits(_) => service != Service::DateTime,
        Request::Invalid => false,
    };
    match (is_offered, request, reply) {
        (true, Request::Command(command), reply) => match command {
            Day => matches!(reply, Reply::Weekday(_)),
            Date => matches!(reply, Reply::Date(_)),
            Time => matches!(reply, Reply::Time(_)),
            SendTime => matches!(reply, Reply::DateTime(_)),
            Help => reply == Reply::Help,
            Quit | Exit => reply == Reply::Farewell,
        },
        (true, Request::Digits(expected), Reply::Sum(sum)) => expected == sum,
        (false, _, Reply::CommandError) => service != Service::DigitSum,
        (false, _, Reply::DigitError) => service == Service::DigitSum,
        _ => false,
    }
}

fn check_line(
    model: naive::ParseReply,
    bytes: &[u8],
    line: &Line,
    got: Option<Result<Reply, chime_protocol::UnknownReply>>,
) {
    let (text, expected) = match line {
        Line::Whole(text) => (text, model(text)),
        Line::Cut(text) => (text, None),
    };
    let is_same = match (expected, &got) {
        (Some(expected), Some(Ok(got))) => {
            expected == *got && got.to_string().as_bytes() == text.as_slice()
        }
        (None, Some(Err(unknown))) => unknown.line() == text.as_slice(),
        _ => false,
    };
    assert!(
        is_same,
        "the line {} of {}\nexpected: {expected:?}\ngot:      {got:?}\n",
        Escaped(text),
        Escaped(bytes),
    );
}
