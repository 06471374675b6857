//! What a client asks: the commands, and where requests end in a stream of lines.

use core::mem;

use chrono::{Datelike, NaiveDateTime};

use crate::digits;
use crate::reply::Reply;

/// A command that has a name. The other command is a string of digits: see [`Request::Digits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The command as it is sent, in small letters.
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

    /// Recognises exactly these bytes, nothing trimmed, letter case ignored.
    pub(crate) fn parse(text: &[u8]) -> Option<Command> {
        Command::ALL
            .into_iter()
            .find(|command| command.name().as_bytes().eq_ignore_ascii_case(text))
    }

    /// The reply of a command that asks for the time, at `now`. Datagrams may ask these.
    pub(crate) fn time_reply(self, now: NaiveDateTime) -> Option<Reply> {
        match self {
            Command::Day => Some(Reply::Weekday(now.weekday())),
            Command::Date => Some(Reply::Date(now.date())),
            Command::Time => Some(Reply::Time(now.time())),
            Command::SendTime => Some(Reply::DateTime(now)),
            Command::Help | Command::Quit | Command::Exit => None,
        }
    }
}

/// Every command stands in [`Command::ALL`], at its own place.
const _: () = {
    let mut index = 0;
    while index < Command::ALL.len() {
        assert!(Command::ALL[index] as usize == index);
        index += 1;
    }
    assert!(Command::Exit as usize + 1 == Command::ALL.len());
};

/// One request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command that has a name.
    Command(Command),
    /// One or more ASCII digits; the value is their sum.
    Digits(u64),
    /// Anything else, an empty line too.
    Invalid,
}

impl Request {
    /// The request that `line` is, which is given without its end: what is behind an LF does not count.
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

    /// Whether the server closes after it: nothing that follows is read.
    pub fn is_quit(self) -> bool {
        matches!(self, Request::Command(Command::Quit | Command::Exit))
    }

    /// Recognises exactly these bytes, nothing trimmed, letter case ignored. No bytes are no request.
    pub(crate) fn parse(text: &[u8]) -> Option<Request> {
        if text.is_empty() {
            return None;
        }
        if let Some(command) = Command::parse(text) {
            return Some(Request::Command(command));
        }
        match digits::leading(text) {
            (length, sum) if length == text.len() => Some(Request::Digits(sum)),
            _ => Some(Request::Invalid),
        }
    }
}

/// Cuts a client's bytes into lines and recognises the request in each, in constant memory.
///
/// A server's [`Session`](crate::Session) is built on it. A client that sends requests ahead of
/// their replies uses it to know how many replies are due, and whether it has asked to quit.
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
    /// Starts before the first byte.
    pub const fn new() -> RequestDecoder {
        RequestDecoder {
            body: Body::Nothing,
            tail: Tail::Nothing,
        }
    }

    /// Takes bytes off the front of `input` until a request is complete, and returns it; `None` when
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

    /// The client will send no more: returns the request in a last line of at least one byte.
    pub fn finish(&mut self) -> Option<Request> {
        let line = mem::take(self);
        (line != RequestDecoder::new()).then(|| line.body.request())
    }

    /// Takes the bytes that only add to a digit sum, or are part of an invalid line whatever they
    /// are, and returns how many they were. These are the only ones that can be many.
    fn take_run(&mut self, input: &[u8]) -> usize {
        match (&mut self.body, self.tail) {
            (Body::Digits(sum), Tail::Nothing) => {
                let (length, run_sum) = digits::leading(input);
                *sum += run_sum;
                length
            }
            (Body::Word(word), Tail::Nothing) => {
                let mut length = 0;
                // Not a space, which may turn out not to count.
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

/// What a line holds so far, without what may turn out not to count at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Digits(u64),
    Word(Word),
    Invalid,
}

/// What follows the body: it counts only if more of the body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Nothing,
    /// One space, which `send time` may have inside.
    Space,
    /// Any other spaces and tabs.
    Blanks,
    /// Spaces and tabs or none, then CR.
    Return,
}

impl Body {
    /// The body after `tail` and `byte`, which is neither blank, CR nor LF.
    fn with(self, tail: Tail, byte: u8) -> Body {
        let word = match (self, tail) {
            (Body::Nothing, _) if byte.is_ascii_digit() => {
                return Body::Digits(u64::from(byte - b'0'));
            }
            (Body::Nothing, _) => Some(Word::EMPTY),
            (Body::Word(word), Tail::Nothing) => Some(word),
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

/// The start of what may be a command, in one register: the bit 1, then five bits for each byte, which
/// are the same for a small letter as for a capital one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const EMPTY: Word = Word(1);

    /// The names of [`Command::ALL`].
    const NAMES: [Word; Command::ALL.len()] = {
        let mut names = [Word::EMPTY; Command::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            let mut name = Command::ALL[index].name().as_bytes();
            while let [byte, rest @ ..] = name {
                let longer = names[index].with(*byte);
                names[index] = longer.expect("a name has at most 12 letters and spaces");
                name = rest;
            }
            index += 1;
        }
        names
    };

    /// The word with one more byte, if it can be part of a command.
    const fn with(self, byte: u8) -> Option<Word> {
        match self.0.checked_mul(32) {
            Some(bits) if byte.is_ascii_alphabetic() || byte == b' ' => {
                Some(Word(bits + (byte % 32) as u64))
            }
            _ => None,
        }
    }

    /// The command, if the word is the name of one.
    fn command(self) -> Option<Command> {
        let index = Word::NAMES.iter().position(|name| *name == self)?;
        Some(Command::ALL[index])
    }
}

/// A line that holds a short command and nothing else, in one register.
///
/// Most lines are such, and to look at eight bytes at a time is several times as fast as one by one.
#[derive(Clone, Copy)]
struct PlainLine {
    command: Command,
    /// Bytes of the line, with its LF.
    length: usize,
    /// The line in small letters, the first byte lowest.
    bits: u64,
    /// The bits that tell capital letters from small ones.
    case: u64,
}

impl PlainLine {
    /// How many commands are short enough, with the LF of their line.
    const COUNT: usize = {
        let (mut count, mut index) = (0, 0);
        while index < Command::ALL.len() {
            count += (Command::ALL[index].name().len() < size_of::<u64>()) as usize;
            index += 1;
        }
        count
    };

    /// The lines of these commands.
    const ALL: [PlainLine; PlainLine::COUNT] = {
        let mut lines = [PlainLine {
            command: Command::ALL[0],
            length: 0,
            bits: 0,
            case: 0,
        }; PlainLine::COUNT];
        let (mut count, mut index) = (0, 0);
        while index < Command::ALL.len() {
            let mut name = Command::ALL[index].name().as_bytes();
            if name.len() < size_of::<u64>() {
                let line = &mut lines[count];
                line.command = Command::ALL[index];
                line.length = name.len() + 1;
                line.bits = (b'\n' as u64) << (8 * name.len());
                while let [rest @ .., byte] = name {
                    line.bits |= (*byte as u64) << (8 * rest.len());
                    line.case |= 0x20 << (8 * rest.len());
                    name = rest;
                }
                count += 1;
            }
            index += 1;
        }
        lines
    };

    /// The line with which `input` begins.
    fn at_front(input: &[u8]) -> Option<PlainLine> {
        let word = u64::from_le_bytes(*input.first_chunk()?);
        let mask = |line: &PlainLine| u64::MAX >> (64 - 8 * line.length);
        PlainLine::ALL
            .into_iter()
            .find(|line| (word | line.case) & mask(line) == line.bits)
    }
}
