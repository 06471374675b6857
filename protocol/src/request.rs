//! The requests of a client: the commands, and a decoder for a stream of lines.

use core::mem;

use chrono::{Datelike, NaiveDateTime};

use crate::digits;
use crate::reply::Reply;

mod counts;
#[cfg(test)]
mod sums;

pub use counts::{RequestCounts, RequestKind};

/// A command with a name. A string of digits is [`Request::Digits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `day`: the weekday.
    Day,
    /// `date`: the date, with a year of two digits.
    Date,
    /// `time`: the time of day.
    Time,
    /// `send time`: date and time of day, with microseconds.
    SendTime,
    /// `help`: the commands, in one line.
    Help,
    /// `quit`: ends the conversation.
    Quit,
    /// `exit`: the same as `quit`.
    Exit,
}

impl Command {
    /// Every command, in the order in which `help` names them.
    pub const ALL: [Command; 7] = [
        Command::Day,
        Command::Date,
        Command::Time,
        Command::SendTime,
        Command::Help,
        Command::Quit,
        Command::Exit,
    ];

    /// Returns the command as it is sent, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Day => "day",
            Command::Date => "date",
            Command::Time => "time",
            Command::SendTime => "send time",
            Command::Help => "help",
            Command::Quit => "quit",
            Command::Exit => "exit",
        }
    }

    /// Parses a command, ignoring letter case and trimming nothing.
    pub(crate) fn parse(text: &[u8]) -> Option<Command> {
        Command::ALL
            .into_iter()
            .find(|command| command.name().as_bytes().eq_ignore_ascii_case(text))
    }

    /// Returns whether this command requests the day, the date or the time. UDP offers only these commands.
    pub const fn is_time_command(self) -> bool {
        match self {
            Command::Day | Command::Date | Command::Time | Command::SendTime => true,
            Command::Help | Command::Quit | Command::Exit => false,
        }
    }

    /// Returns the commands that UDP offers.
    pub fn time_commands() -> impl Iterator<Item = Command> {
        Command::ALL
            .into_iter()
            .filter(|command| command.is_time_command())
    }

    /// Returns whether a service that offers this command may reply with `reply`.
    pub fn is_answered_by(self, reply: Reply) -> bool {
        mem::discriminant(&reply) == mem::discriminant(&self.reply(NaiveDateTime::MIN))
    }

    /// Returns the reply at `now` of a service that offers this command.
    pub(crate) fn reply(self, now: NaiveDateTime) -> Reply {
        match self {
            Command::Day => Reply::Weekday(now.weekday()),
            Command::Date => Reply::Date(now.date()),
            Command::Time => Reply::Time(now.time()),
            Command::SendTime => Reply::DateTime(now),
            Command::Help => Reply::Help,
            Command::Quit | Command::Exit => Reply::Farewell,
        }
    }
}

/// Every command is in [`Command::ALL`].
const _: () = assert!(Command::Exit as usize + 1 == Command::ALL.len());

/// One request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A command with a name.
    Command(Command),
    /// One or more ASCII digits; the value is their sum.
    Digits(u64),
    /// Anything else, including an empty line.
    Invalid,
}

impl Request {
    /// Parses a line without its line end. Text after an LF is ignored.
    ///
    /// ```
    /// use chime_protocol::{Command, Request};
    ///
    /// assert_eq!(Request::of_line(" Day"), Request::Command(Command::Day));
    /// assert_eq!(Request::of_line("12345"), Request::Digits(15));
    /// assert_eq!(Request::of_line(""), Request::Invalid);
    /// ```
    pub fn of_line(line: &str) -> Request {
        let mut requests = RequestDecoder::new();
        let request = requests.next(&mut line.as_bytes());
        request
            .or_else(|| requests.finish())
            .unwrap_or(Request::Invalid)
    }

    /// Returns the kind of this request.
    pub const fn kind(self) -> RequestKind {
        match self {
            Request::Command(command) => RequestKind::Command(command),
            Request::Digits(_) => RequestKind::Digits,
            Request::Invalid => RequestKind::Invalid,
        }
    }

    /// Returns whether the server closes after this request and reads nothing more.
    pub fn is_quit(self) -> bool {
        matches!(self, Request::Command(Command::Quit | Command::Exit))
    }

    /// Returns whether `reply` may be the reply to this request. Either error may, unless the request is `quit` or `exit`.
    pub fn is_answered_by(self, reply: Reply) -> bool {
        match self {
            Request::Command(command) if command.is_answered_by(reply) => true,
            Request::Digits(_) if matches!(reply, Reply::Sum(_)) => true,
            request => reply.is_error() && !request.is_quit(),
        }
    }

    /// Parses a request, ignoring letter case and trimming nothing. Returns `None` if `text` is empty.
    pub(crate) fn parse(text: &[u8]) -> Option<Request> {
        if text.is_empty() {
            return None;
        }
        if let Some(command) = Command::parse(text) {
            return Some(Request::Command(command));
        }
        match digits::sum_leading(text) {
            (length, sum) if length == text.len() => Some(Request::Digits(sum)),
            _ => Some(Request::Invalid),
        }
    }
}

/// Splits a client's bytes into lines and parses the request in each, in constant memory.
///
/// [`Session`](crate::Session) is built on it. A client that pipelines requests uses it to count the
/// replies to expect, and to detect a `quit`.
///
/// ```
/// use chime_protocol::{Command, Request, RequestDecoder};
///
/// let mut requests = RequestDecoder::new();
/// let mut input: &[u8] = b" Day \r\n123";
/// assert_eq!(requests.next(&mut input), Some(Request::Command(Command::Day)));
/// assert_eq!(requests.next(&mut input), None);
/// let mut input: &[u8] = b"45\n";
/// assert_eq!(requests.next(&mut input), Some(Request::Digits(15)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestDecoder {
    body: Body,
    tail: Tail,
}

impl Default for RequestDecoder {
    fn default() -> RequestDecoder {
        RequestDecoder::new()
    }
}

impl RequestDecoder {
    /// Creates a decoder for the start of a stream.
    pub const fn new() -> RequestDecoder {
        RequestDecoder {
            body: Body::Nothing,
            tail: Tail::Nothing,
        }
    }

    /// Takes bytes off the front of `input` until a request is complete, and returns it. Returns `None` if
    /// `input` is used up before that.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Request> {
        if *self == RequestDecoder::new()
            && let Some(line) = PlainLine::at_front(input)
        {
            *input = &input[line.length..];
            return Some(Request::Command(line.command));
        }
        loop {
            *input = &input[self.take_run(input)..];
            let (&byte, rest) = input.split_first()?;
            *input = rest;
            if byte == b'\n' {
                let line = mem::take(self);
                return Some(line.body.request());
            }
            self.take_byte(byte);
        }
    }

    /// Ends the stream at EOF: returns the request in a last line of at least one byte without LF.
    pub fn finish(&mut self) -> Option<Request> {
        let line = mem::take(self);
        (line != RequestDecoder::new()).then(|| line.body.request())
    }

    /// Takes a run of bytes that extends the body of the line, and returns its length: letters of a word, digits of a
    /// sum, or anything of an invalid line.
    fn take_run(&mut self, input: &[u8]) -> usize {
        match (&mut self.body, self.tail) {
            (Body::Digits(sum), Tail::Nothing) => {
                let (length, run_sum) = digits::sum_leading(input);
                *sum += run_sum;
                length
            }
            (Body::Word(word), Tail::Nothing) => {
                let mut length = 0;
                // Stops at a space, which may be trailing.
                while let Some(byte @ b'A'..) = input.get(length)
                    && let Some(longer) = word.with(*byte)
                {
                    *word = longer;
                    length += 1;
                }
                length
            }
            (Body::Invalid, _) => {
                let line_end = input.iter().position(|byte| *byte == b'\n');
                line_end.unwrap_or(input.len())
            }
            _ => 0,
        }
    }

    /// Takes a byte that is not LF.
    fn take_byte(&mut self, byte: u8) {
        match (byte, self.tail) {
            (_, Tail::Return) => self.body = Body::Invalid,
            (b'\r', _) => self.tail = Tail::Return,
            (b' ', Tail::Nothing) => self.tail = Tail::Space,
            (b' ' | b'\t', _) => self.tail = Tail::Blanks,
            (_, tail) => {
                self.body = self.body.with(tail, byte);
                self.tail = Tail::Nothing;
            }
        }
    }
}

/// The content of a line so far, without blanks and CR that may be trailing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Digits(u64),
    Word(Word),
    Invalid,
}

/// The bytes after the body. They are ignored unless more of the body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Nothing,
    /// One space, as in `send time`.
    Space,
    /// Any other sequence of spaces and tabs.
    Blanks,
    /// Any number of spaces and tabs, then CR.
    Return,
}

impl Body {
    /// Returns the body extended by `tail` and `byte`, which is neither a blank nor CR nor LF.
    fn with(self, tail: Tail, byte: u8) -> Body {
        let word = match (self, tail) {
            (Body::Nothing, _) if byte.is_ascii_digit() => {
                return Body::Digits(u64::from(byte - b'0'));
            }
            (Body::Nothing, _) => Some(Word::EMPTY),
            // Without a tail, a longer word is a run.
            (Body::Word(word), Tail::Space) => word.with(b' '),
            _ => None,
        };
        word.and_then(|word| word.with(byte))
            .map_or(Body::Invalid, Body::Word)
    }

    fn request(self) -> Request {
        match self {
            Body::Digits(sum) => Request::Digits(sum),
            Body::Word(word) => word.command().map_or(Request::Invalid, Request::Command),
            Body::Nothing | Body::Invalid => Request::Invalid,
        }
    }
}

/// A prefix of the name of a command: a node of the tree of all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u8);

impl Word {
    const EMPTY: Word = Word(0);

    /// More words than there are: with fewer, the table would not compile.
    const COUNT_MAX: usize = 40;

    /// The words that are one byte longer than each word, at the low five bits of that byte, which do not depend
    /// on letter case. The empty word stands for none.
    const LONGER: [[Word; 32]; Word::COUNT_MAX] = {
        let mut longer = [[Word::EMPTY; 32]; Word::COUNT_MAX];
        let (mut count, mut index) = (1, 0);
        while index < Command::ALL.len() {
            let mut name = Command::ALL[index].name().as_bytes();
            let mut word = Word::EMPTY;
            while let [byte, rest @ ..] = name {
                let next = &mut longer[word.0 as usize][(*byte % 32) as usize];
                if next.0 == Word::EMPTY.0 {
                    *next = Word(count);
                    count += 1;
                }
                word = *next;
                name = rest;
            }
            index += 1;
        }
        longer
    };

    /// The names of [`Command::ALL`].
    const NAMES: [Word; Command::ALL.len()] = {
        let mut names = [Word::EMPTY; Command::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            let mut name = Command::ALL[index].name().as_bytes();
            while let [byte, rest @ ..] = name {
                let longer = names[index].with(*byte);
                names[index] = longer.expect("names consist of letters and spaces");
                name = rest;
            }
            index += 1;
        }
        names
    };

    /// Returns the word with one more byte, if that is a prefix of a name.
    const fn with(self, byte: u8) -> Option<Word> {
        if !byte.is_ascii_alphabetic() && byte != b' ' {
            return None;
        }
        match Word::LONGER[self.0 as usize][(byte % 32) as usize] {
            Word::EMPTY => None,
            longer => Some(longer),
        }
    }

    /// Returns the command whose name is this word.
    fn command(self) -> Option<Command> {
        let index = Word::NAMES.iter().position(|name| *name == self)?;
        Some(Command::ALL[index])
    }
}

/// A line that is a command and nothing else. Most lines are, and comparing all their bytes at once is fast.
#[derive(Clone, Copy)]
struct PlainLine {
    command: Command,
    /// The length of the line in bytes, with its LF.
    length: usize,
    /// The line in lower case, the first byte in the lowest bits.
    bits: u128,
    /// The bits in which upper and lower case differ.
    case: u128,
}

impl PlainLine {
    const ALL: [PlainLine; Command::ALL.len()] = {
        let mut lines = [PlainLine {
            command: Command::ALL[0],
            length: 0,
            bits: 0,
            case: 0,
        }; Command::ALL.len()];
        let mut index = 0;
        while index < lines.len() {
            let line = &mut lines[index];
            line.command = Command::ALL[index];
            let mut name = line.command.name().as_bytes();
            line.length = name.len() + 1;
            line.bits = (b'\n' as u128) << (8 * name.len());
            while let [rest @ .., byte] = name {
                line.bits |= (*byte as u128) << (8 * rest.len());
                if byte.is_ascii_alphabetic() {
                    line.case |= 0x20 << (8 * rest.len());
                }
                name = rest;
            }
            index += 1;
        }
        lines
    };

    /// Returns the plain line that `input` begins with.
    fn at_front(input: &[u8]) -> Option<PlainLine> {
        let mut bytes = [0; 16];
        match input.first_chunk() {
            Some(chunk) => bytes = *chunk,
            None => bytes[..input.len()].copy_from_slice(input),
        }
        if bytes[0].is_ascii_digit() {
            return None;
        }
        let word = u128::from_le_bytes(bytes);
        let mask = |line: &PlainLine| u128::MAX >> (128 - 8 * line.length);
        PlainLine::ALL
            .into_iter()
            .find(|line| (word | line.case) & mask(line) == line.bits)
    }
}
