//! The replies of a server, as values and as text. All text that a server sends is in this file.

use core::fmt;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};

const WELCOME: &str = "Welcome to the server";
const FULL: &str = "The server is full, please try again later";
const HELP: &str = "Commands: day, date, time, send time, a string of digits, help, quit, exit";
const FAREWELL: &str = "Thank You .. See You soon !! ";
const COMMAND_ERROR: &str = "You entered an invalid command";
const DIGIT_ERROR: &str = "Please enter a valid String of Digits or type 'quit' to exit.";

/// One reply of a server.
///
/// [`Display`](fmt::Display) writes its text, without a line end; [`Reply::parse`] reads it back.
///
/// ```
/// use chime_protocol::Reply;
///
/// assert_eq!(Reply::parse(b"15"), Some(Reply::Sum(15)));
/// assert_eq!(Reply::Sum(15).to_string(), "15");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The welcome, sent as soon as a client is connected.
    Welcome,
    /// The full notice, sent in place of the welcome by a server at its connection limit.
    Full,
    /// The weekday, in English.
    Weekday(Weekday),
    /// The date, as `26-11-21`: the year without its century, the month, the day.
    Date(NaiveDate),
    /// The time of day, as `06:32:06`.
    Time(NaiveTime),
    /// Date and time of day, as `2026-11-21 06:32:06.123456`.
    DateTime(NaiveDateTime),
    /// The sum of a string of digits.
    Sum(u64),
    /// The commands, in one line.
    Help,
    /// The farewell, sent before the server closes after `quit` or `exit`.
    Farewell,
    /// The error for a request that is not a command of the service.
    CommandError,
    /// The error of the service `digit-sum` for a request that is not a string of digits.
    DigitError,
}

impl Reply {
    /// The length of the longest reply, in bytes, without a line end.
    pub const TEXT_MAX: usize = HELP.len();

    /// Parses the text of a reply, without a line end. Returns `None` if no server sends this text.
    ///
    /// A date has no century on the wire, and is taken to be between 1970 and 2069.
    pub fn parse(text: &[u8]) -> Option<Reply> {
        let text = str::from_utf8(text).ok()?;
        let reply = match text {
            WELCOME => Reply::Welcome,
            FULL => Reply::Full,
            HELP => Reply::Help,
            FAREWELL => Reply::Farewell,
            COMMAND_ERROR => Reply::CommandError,
            DIGIT_ERROR => Reply::DigitError,
            _ => Reply::parse_value(text)?,
        };
        // The parsers of values accept more spellings than a server sends.
        let mut line = [0; LINE_MAX];
        let length = reply.write_line(&mut line);
        (line[..length - 1] == *text.as_bytes()).then_some(reply)
    }

    /// Returns whether this is the error for a request that the service does not offer.
    pub const fn is_error(self) -> bool {
        matches!(self, Reply::CommandError | Reply::DigitError)
    }

    fn parse_value(text: &str) -> Option<Reply> {
        if let Ok(sum) = text.parse() {
            return Some(Reply::Sum(sum));
        }
        if let Ok(weekday) = text.parse() {
            return Some(Reply::Weekday(weekday));
        }
        if let Ok(date) = NaiveDate::parse_from_str(text, "%y-%m-%d") {
            return Some(Reply::Date(date));
        }
        if let Ok(time) = NaiveTime::parse_from_str(text, "%H:%M:%S") {
            return Some(Reply::Time(time));
        }
        let instant = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.6f");
        instant.map(Reply::DateTime).ok()
    }

    /// Writes the text and LF to the front of `line`, and returns their length.
    pub(crate) fn write_line(self, line: &mut [u8; LINE_MAX]) -> usize {
        let mut line = Line {
            bytes: line,
            length: 0,
        };
        match self {
            Reply::Welcome => line.push(WELCOME),
            Reply::Full => line.push(FULL),
            Reply::Weekday(weekday) => line.push(weekday_name(weekday)),
            Reply::Date(date) => line.push_date::<2>(date),
            Reply::Time(time) => line.push_time(time),
            Reply::DateTime(instant) => {
                line.push_date::<4>(instant.date());
                line.push(" ");
                line.push_time(instant.time());
                line.push(".");
                line.push_digits::<6>(instant.nanosecond() / 1_000);
            }
            Reply::Sum(sum) => line.push_number(sum),
            Reply::Help => line.push(HELP),
            Reply::Farewell => line.push(FAREWELL),
            Reply::CommandError => line.push(COMMAND_ERROR),
            Reply::DigitError => line.push(DIGIT_ERROR),
        }
        line.push("\n");
        line.length
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = [0; LINE_MAX];
        let length = self.write_line(&mut line);
        let text = str::from_utf8(&line[..length - 1]).expect("replies are ASCII");
        f.pad(text)
    }
}

/// The length of the longest reply with its LF, in bytes.
pub(crate) const LINE_MAX: usize = Reply::TEXT_MAX + 1;

/// A reply that is being formatted, without `core::fmt`: most of the time of a request is spent here.
struct Line<'a> {
    bytes: &'a mut [u8; LINE_MAX],
    length: usize,
}

impl Line<'_> {
    fn push(&mut self, text: &str) {
        self.bytes[self.length..][..text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
    }

    /// Appends the last `DIGITS` digits of `number`, with leading zeros.
    fn push_digits<const DIGITS: usize>(&mut self, mut number: u32) {
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        self.bytes[self.length..][..DIGITS].copy_from_slice(&digits);
        self.length += DIGITS;
    }

    fn push_number(&mut self, mut number: u64) {
        let length = number.checked_ilog10().unwrap_or(0) as usize + 1;
        for byte in self.bytes[self.length..][..length].iter_mut().rev() {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += length;
    }

    /// Appends the date, with the last `YEAR_DIGITS` digits of its year.
    fn push_date<const YEAR_DIGITS: usize>(&mut self, date: NaiveDate) {
        self.push_digits::<YEAR_DIGITS>(date.year().unsigned_abs());
        self.push("-");
        self.push_digits::<2>(date.month());
        self.push("-");
        self.push_digits::<2>(date.day());
    }

    /// Appends the time of day to the second. In a leap second the seconds are 60.
    fn push_time(&mut self, time: NaiveTime) {
        let leap = time.nanosecond() / 1_000_000_000;
        self.push_digits::<2>(time.hour());
        self.push(":");
        self.push_digits::<2>(time.minute());
        self.push(":");
        self.push_digits::<2>(time.second() + leap);
    }
}

const fn weekday_name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Mon => "Monday",
        Weekday::Tue => "Tuesday",
        Weekday::Wed => "Wednesday",
        Weekday::Thu => "Thursday",
        Weekday::Fri => "Friday",
        Weekday::Sat => "Saturday",
        Weekday::Sun => "Sunday",
    }
}
