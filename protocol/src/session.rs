//! The server's side of one conversation over TCP.

use core::fmt;
use core::mem;
use core::str::FromStr;

use chrono::NaiveDateTime;

use crate::reply::{LINE_MAX, Reply};
use crate::request::{Command, Request, RequestCounts, RequestDecoder};

/// Which commands a server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Service {
    /// All commands.
    #[default]
    Both,
    /// `day`, `date`, `time`, and `quit` or `exit` without a farewell.
    DateTime,
    /// Digit sums, and `quit` or `exit`.
    DigitSum,
}

/// Where one command ends and the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A line is a command; replies end with LF.
    #[default]
    Line,
    /// The bytes of one read are a command; replies have no line end.
    Read,
}

/// Gives the variants of an enum their names on command lines and in configuration files.
macro_rules! name_variants {
    ($type:ident: $first:ident = $first_name:literal $(, $variant:ident = $name:literal)*) => {
        impl $type {
            /// Every variant.
            pub const ALL: &[$type] = &[$type::$first $(, $type::$variant)*];

            /// Returns the name, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $type::$first => $first_name,
                    $($type::$variant => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<$type, UnknownName> {
                let mut all = $type::ALL.iter().copied();
                all.find(|value| value.name() == text)
                    .ok_or(UnknownName(concat!($first_name $(, ", ", $name)*)))
            }
        }
    };
}

name_variants!(Service: Both = "both", DateTime = "date-time", DigitSum = "digit-sum");
name_variants!(Framing: Line = "line", Read = "read");

/// The error of parsing a [`Service`] or a [`Framing`]. Its message lists the valid names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName(&'static str);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown name, expected one of {}", self.0)
    }
}

impl core::error::Error for UnknownName {}

/// The progress that one call of a [`Session`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes read from the front of the input. The caller passes the other bytes again.
    pub read: usize,
    /// Bytes written to the front of the output, which the caller sends.
    pub written: usize,
    /// What to do next.
    pub status: Status,
    /// The requests that were completed.
    pub requests: RequestCounts,
}

/// What the caller of a [`Session`] does after it has sent the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// All input is read and every reply is written: wait for more input.
    NeedInput,
    /// The output is full and there may be more: call again with the input that was not read.
    OutputFull,
    /// Every reply is written and no more input is read: close the connection.
    Closed,
}

/// The server's side of one conversation over TCP: bytes in, bytes out.
///
/// Every byte string is a legal input, so no call can fail. The state has a fixed size. See
/// [the run loop](crate#running-a-session).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    requests: RequestDecoder,
    /// The reply that is not completely written, and how many of its bytes are.
    reply: Option<(Reply, usize)>,
    service: Service,
    framing: Framing,
    closing: bool,
}

const _: () = assert!(size_of::<Session>() <= 64);

impl Session {
    /// Creates a session, whose first output is the welcome.
    pub const fn new(service: Service, framing: Framing) -> Session {
        Session {
            requests: RequestDecoder::new(),
            reply: Some((Reply::Welcome, 0)),
            service,
            framing,
            closing: false,
        }
    }

    /// Creates a session that only sends the full notice and closes.
    pub const fn refused(framing: Framing) -> Session {
        Session {
            reply: Some((Reply::Full, 0)),
            closing: true,
            ..Session::new(Service::Both, framing)
        }
    }

    /// Reads `input` and writes the replies to `output`, until either is used up or the conversation ends.
    ///
    /// Replies contain the time `now`. Any non-empty `output` makes progress. With [`Framing::Read`],
    /// `input` is what one read returned, or empty.
    pub fn advance(&mut self, input: &[u8], output: &mut [u8], now: NaiveDateTime) -> Progress {
        self.run(input, false, output, now)
    }

    /// Ends the conversation at EOF: writes the reply to a last line without a line end.
    ///
    /// Call it after [`advance`](Session::advance) has read all input, and again while it returns
    /// [`Status::OutputFull`]. The last call returns [`Status::Closed`].
    pub fn finish(&mut self, output: &mut [u8], now: NaiveDateTime) -> Progress {
        self.run(&[], true, output, now)
    }

    /// Returns whether a line has begun but not ended.
    pub fn has_partial_line(&self) -> bool {
        self.requests != RequestDecoder::new()
    }

    fn run(
        &mut self,
        input: &[u8],
        is_last: bool,
        output: &mut [u8],
        now: NaiveDateTime,
    ) -> Progress {
        let mut unread = input;
        let mut written = match self.reply.take() {
            Some((reply, offset)) => self.write_reply(reply, offset, output),
            None => 0,
        };
        let mut requests = RequestCounts::default();
        // Where the replies to the commands are in the output. They are the same for all requests of a call, so each is
        // formatted once.
        let mut replies = [const { 0..0 }; Command::ALL.len()];
        let status = loop {
            if self.reply.is_some() {
                break Status::OutputFull;
            }
            if self.closing {
                break Status::Closed;
            }
            let mut request = self.next_request(&mut unread);
            if request.is_none() && is_last {
                self.closing = true;
                request = self.requests.finish();
            } else if request.is_none() {
                break Status::NeedInput;
            }
            let Some(request) = request else {
                continue;
            };
            requests.add(request.kind());
            let (sent, room) = output.split_at_mut(written);
            if let Request::Command(command) = request
                && let reply = &sent[replies[command as usize].clone()]
                && !reply.is_empty()
                && let Some(room) = room.get_mut(..reply.len())
            {
                room.copy_from_slice(reply);
                written += reply.len();
            } else if let Some(reply) = self.reply_to(request, now) {
                let length = self.write_reply(reply, 0, room);
                if let Request::Command(command) = request {
                    replies[command as usize] = written..written + length;
                }
                written += length;
            }
        };
        Progress {
            read: input.len() - unread.len(),
            written,
            status,
            requests,
        }
    }

    /// Writes the reply from `offset` on until `output` is full, keeps the reply if it does not fit, and
    /// returns the number of bytes written.
    fn write_reply(&mut self, reply: Reply, offset: usize, output: &mut [u8]) -> usize {
        // Usually any reply fits, and no copy is needed.
        if offset == 0
            && let Some(line) = output.first_chunk_mut()
        {
            return self.write_whole(reply, line);
        }
        let mut line = [0; LINE_MAX];
        let length = self.write_whole(reply, &mut line);
        let rest = &line[offset..length];
        let written = rest.len().min(output.len());
        output[..written].copy_from_slice(&rest[..written]);
        self.reply = (written < rest.len()).then_some((reply, offset + written));
        written
    }

    /// Writes the reply with the line end of the framing, and returns the number of bytes written.
    fn write_whole(&self, reply: Reply, line: &mut [u8; LINE_MAX]) -> usize {
        match self.framing {
            Framing::Line => reply.write_line(line),
            Framing::Read => reply.write_line(line) - 1,
        }
    }

    fn next_request(&mut self, input: &mut &[u8]) -> Option<Request> {
        match self.framing {
            Framing::Line => self.requests.next(input),
            Framing::Read => Request::parse(mem::take(input)),
        }
    }

    /// Returns the reply to `request`, if it has one.
    fn reply_to(&mut self, request: Request, now: NaiveDateTime) -> Option<Reply> {
        use Command::{Date, Day, Exit, Help, Quit, SendTime, Time};
        use Service::{Both, DateTime, DigitSum};

        match (self.service, request) {
            (service, Request::Command(Quit | Exit)) => {
                self.closing = true;
                (service != DateTime).then_some(Reply::Farewell)
            }
            (Both | DateTime, Request::Command(command @ (Day | Date | Time)))
            | (Both, Request::Command(command @ (SendTime | Help))) => Some(command.reply(now)),
            (Both | DigitSum, Request::Digits(sum)) => Some(Reply::Sum(sum)),
            (Both | DateTime, _) => Some(Reply::CommandError),
            (DigitSum, _) => Some(Reply::DigitError),
        }
    }
}
