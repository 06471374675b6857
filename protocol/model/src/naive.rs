//! A naive model of the protocol, simple enough to be obviously right: it buffers all input, splits it, trims
//! it and looks it up, and formats the time with chrono.
//!
//! It shares neither code nor text with the state machine, because independent implementations rarely have the
//! same bug.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Weekday};

use chime_protocol::{Framing, Reply, Service};

const WELCOME: &str = "Welcome to the server";
const FULL: &str = "The server is full, please try again later";
const HELP: &str = "Commands: day, date, time, send time, a string of digits, help, quit, exit";
const FAREWELL: &str = "Thank You .. See You soon !! ";
const COMMAND_ERROR: &str = "You entered an invalid command";
const DIGIT_ERROR: &str = "Please enter a valid String of Digits or type 'quit' to exit.";

/// A function that replies to a command: [`answer`], or a canary that a check must catch.
pub type Answer = fn(Service, &[u8], NaiveDateTime) -> (Option<String>, bool);

/// Returns the reply to a command, if it has one, and whether the server closes after it.
///
/// The caller has removed the line end and the surrounding blanks, if the framing ignores them.
pub fn answer(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
    use Service::{Both, DateTime, DigitSum};

    let command = String::from_utf8_lossy(command).to_ascii_lowercase();
    let reply = match (service, command.as_str()) {
        (DateTime, "quit" | "exit") => return (None, true),
        (Both | DigitSum, "quit" | "exit") => return (Some(FAREWELL.into()), true),
        (Both | DateTime, "day") => now.format("%A").to_string(),
        (Both | DateTime, "date") => last_bytes(8, now.format("%Y-%m-%d").to_string()),
        (Both | DateTime, "time") => now.format("%H:%M:%S").to_string(),
        (Both, "send time") => last_bytes(26, now.format("%Y-%m-%d %H:%M:%S%.6f").to_string()),
        (Both, "help") => HELP.into(),
        (Both | DigitSum, text) if digit_sum(text).is_some() => {
            format!("{}", digit_sum(text).unwrap_or_default())
        }
        (Both | DateTime, _) => COMMAND_ERROR.into(),
        (DigitSum, _) => DIGIT_ERROR.into(),
    };
    (Some(reply), false)
}

/// Returns the last `length` bytes of `text`, to remove the century or the fifth digit of a year.
fn last_bytes(length: usize, text: String) -> String {
    text[text.len() - length..].into()
}

fn digit_sum(text: &str) -> Option<u64> {
    let digits: Option<Vec<u32>> = text.chars().map(|char| char.to_digit(10)).collect();
    let digits = digits.filter(|digits| !digits.is_empty())?;
    Some(digits.into_iter().map(u64::from).sum())
}

/// The server's side of a conversation, which keeps everything that it sent and the whole unfinished line.
#[derive(Clone, Debug)]
pub struct Conversation {
    answer: Answer,
    service: Service,
    framing: Framing,
    unfinished: Vec<u8>,
    /// The bytes that the server has sent.
    pub sent: Vec<u8>,
    /// The number of requests that the server has read.
    pub requests: u64,
    /// Whether the server has closed the conversation.
    pub is_closed: bool,
}

impl Conversation {
    /// Starts a conversation with the welcome. `answer` replies to its commands.
    pub fn new(answer: Answer, service: Service, framing: Framing) -> Conversation {
        let mut conversation = Conversation {
            answer,
            service,
            framing,
            unfinished: Vec::new(),
            sent: Vec::new(),
            requests: 0,
            is_closed: false,
        };
        conversation.send(WELCOME);
        conversation
    }

    /// Starts a conversation of a full server: it only sends the full notice.
    pub fn refused(framing: Framing) -> Conversation {
        let mut conversation = Conversation::new(answer, Service::Both, framing);
        conversation.sent.clear();
        conversation.send(FULL);
        conversation.is_closed = true;
        conversation
    }

    /// Processes the bytes of one read at `now`.
    pub fn read(&mut self, bytes: &[u8], now: NaiveDateTime) {
        if self.framing == Framing::Read {
            return self.process_command(bytes, now);
        }
        self.unfinished.extend(bytes);
        while let Some(line_end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=line_end).collect();
            self.process_line(&line[..line_end], now);
        }
    }

    /// Processes EOF at `now`.
    pub fn end(&mut self, now: NaiveDateTime) {
        let line = self.unfinished.clone();
        if !line.is_empty() {
            self.process_line(&line, now);
        }
        self.is_closed = true;
    }

    /// Returns whether a line has begun but not ended.
    pub fn has_partial_line(&self) -> bool {
        !self.is_closed && !self.unfinished.is_empty()
    }

    fn process_line(&mut self, line: &[u8], now: NaiveDateTime) {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        self.process_command(line.trim_matches([' ', '\t']).as_bytes(), now);
    }

    fn process_command(&mut self, command: &[u8], now: NaiveDateTime) {
        if self.is_closed {
            return;
        }
        self.requests += 1;
        let (reply, closes) = (self.answer)(self.service, command, now);
        if let Some(reply) = reply {
            self.send(&reply);
        }
        self.is_closed = closes;
    }

    fn send(&mut self, text: &str) {
        self.sent.extend(text.as_bytes());
        if self.framing == Framing::Line {
            self.sent.push(b'\n');
        }
    }
}

/// Returns the reply to a datagram, if it has one.
pub fn datagram(answer: Answer, request: &[u8], now: NaiveDateTime) -> Option<Vec<u8>> {
    let request = String::from_utf8_lossy(request);
    let (command, line_end) = if let Some(command) = request.strip_suffix("\r\n") {
        (command, "\n")
    } else if let Some(command) = request.strip_suffix("\n") {
        (command, "\n")
    } else {
        (&*request, "")
    };
    let name = command.to_ascii_lowercase();
    if !["send time", "day", "date", "time"].contains(&name.as_str()) {
        return None;
    }
    let (reply, _) = answer(Service::Both, command.as_bytes(), now);
    Some((reply? + line_end).into_bytes())
}

/// Takes the next line, without its LF, off the front of the bytes received from a server.
///
/// A line that is longer than the longest reply is cut at that length.
pub fn next_line(unread: &mut Vec<u8>) -> Option<Line> {
    let line_end = unread.iter().position(|byte| *byte == b'\n');
    if let Some(length) = line_end.filter(|length| *length <= HELP.len()) {
        let text = unread.drain(..length).collect();
        unread.remove(0);
        return Some(Line::Whole(text));
    }
    (unread.len() > HELP.len()).then(|| Line::Cut(unread.drain(..HELP.len()).collect()))
}

/// A line of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line, without its LF.
    Whole(Vec<u8>),
    /// The start of a line that is longer than any reply.
    Cut(Vec<u8>),
}

/// A function that parses a line of a server: [`parse_reply`], or a canary that a check must catch.
pub type ParseReply = fn(&[u8]) -> Option<Reply>;

/// Parses a line of a server. Returns `None` if it is not a reply.
pub fn parse_reply(line: &[u8]) -> Option<Reply> {
    let text = str::from_utf8(line).ok()?;
    let shape = text.replace(|char: char| char.is_ascii_digit(), "9");
    match shape.as_str() {
        WELCOME => Some(Reply::Welcome),
        FULL => Some(Reply::Full),
        HELP => Some(Reply::Help),
        FAREWELL => Some(Reply::Farewell),
        COMMAND_ERROR => Some(Reply::CommandError),
        DIGIT_ERROR => Some(Reply::DigitError),
        "Monday" => Some(Reply::Weekday(Weekday::Mon)),
        "Tuesday" => Some(Reply::Weekday(Weekday::Tue)),
        "Wednesday" => Some(Reply::Weekday(Weekday::Wed)),
        "Thursday" => Some(Reply::Weekday(Weekday::Thu)),
        "Friday" => Some(Reply::Weekday(Weekday::Fri)),
        "Saturday" => Some(Reply::Weekday(Weekday::Sat)),
        "Sunday" => Some(Reply::Weekday(Weekday::Sun)),
        "99-99-99" if text < "70" => parse_date(&format!("20{text}")).map(Reply::Date),
        "99-99-99" => parse_date(&format!("19{text}")).map(Reply::Date),
        "99:99:99" => parse_time(text, 0).map(Reply::Time),
        "9999-99-99 99:99:99.999999" => {
            let time = parse_time(&text[11..19], parse_number(&text[20..]))?;
            parse_date(&text[..10]).map(|date| Reply::DateTime(date.and_time(time)))
        }
        nines if nines.is_empty() || nines.contains(|char| char != '9') => None,
        "9" => text.parse().map(Reply::Sum).ok(),
        _ if text.starts_with('0') => None,
        _ => text.parse().map(Reply::Sum).ok(),
    }
}

/// Parses a date of the shape `9999-99-99`, if that day exists.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let year = i32::try_from(parse_number(&text[..4])).ok()?;
    NaiveDate::from_ymd_opt(year, parse_number(&text[5..7]), parse_number(&text[8..]))
}

/// Parses a time of day of the shape `99:99:99`, if that second exists. Second 60 is a leap second.
fn parse_time(text: &str, micros: u32) -> Option<NaiveTime> {
    let (hour, minute) = (parse_number(&text[..2]), parse_number(&text[3..5]));
    match parse_number(&text[6..]) {
        60 => NaiveTime::from_hms_micro_opt(hour, minute, 59, 1_000_000 + micros),
        second => NaiveTime::from_hms_micro_opt(hour, minute, second, micros),
    }
}

fn parse_number(digits: &str) -> u32 {
    digits.parse().expect("the shape has only digits here")
}
