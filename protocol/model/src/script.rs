//! A conversation as readable text: the format of fuzzing inputs, seeds and failure reports.

use std::str::FromStr;
use std::vec::Vec;
use std::{fmt, write, writeln};

use arbitrary::{Arbitrary, Unstructured};
use chrono::{NaiveDate, NaiveDateTime};

use chime_protocol::{Framing, Service};

/// The maximum size of the output buffers of a script, in bytes.
pub const OUTPUT_SIZE_MAX: usize = 65_536;

/// The events at the server's side of one conversation.
///
/// The text format has one line per step:
///
/// ```text
/// # All lines but the reads are optional, with these defaults.
/// service both
/// framing line
/// clock 2026-11-21 06:32:06.123456
/// room 4096
/// > day\r\n
/// ```
///
/// The other services are `date-time` and `digit-sum`, the other framing is `read`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The service of the server.
    pub service: Service,
    /// The framing of the server.
    pub framing: Framing,
    /// The events, in order. EOF follows the last step.
    pub steps: Vec<Step>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets the clock.
    Clock(NaiveDateTime),
    /// Sets the size of the output buffers to between 1 and [`OUTPUT_SIZE_MAX`] bytes.
    Room(usize),
    /// A read returns these bytes, at least one.
    Read(Vec<u8>),
}

impl Script {
    /// The size of the output buffers at the start, in bytes.
    pub const INITIAL_OUTPUT_SIZE: usize = 4096;

    /// The clock at the start: `2026-11-21 06:32:06.123456`.
    pub fn clock_at_start() -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 11, 21)
            .and_then(|date| date.and_hms_micro_opt(6, 32, 6, 123_456))
            .expect("the instant exists")
    }

    /// Parses a script. Any bytes are a valid script.
    ///
    /// Empty lines and lines that start with `#` are skipped. A line that is not another step is a read,
    /// as if it started with `> `. The output of [`Display`](fmt::Display) parses to the same script.
    pub fn parse(text: &[u8]) -> Script {
        let mut script = Script::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(service) = setting(line, b"service ") {
                script.service = service;
            } else if let Some(framing) = setting(line, b"framing ") {
                script.framing = framing;
            } else if !line.starts_with(b"#") {
                script.steps.extend(Step::parse(line));
            }
        }
        script
    }
}

/// Returns the value of a line that starts with `key`, if it is valid.
fn setting<T: FromStr>(line: &[u8], key: &[u8]) -> Option<T> {
    let value = str::from_utf8(line.strip_prefix(key)?).ok()?;
    value.parse().ok()
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service {}\nframing {}", self.service, self.framing)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl<'a> Arbitrary<'a> for Script {
    /// Parses the fuzzer's bytes as text, so that people can read and edit its inputs.
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Script> {
        input.bytes(input.len()).map(Script::parse)
    }
}

impl Step {
    /// Parses one line. Returns `None` if it is empty.
    fn parse(line: &[u8]) -> Option<Step> {
        let text = str::from_utf8(line).unwrap_or_default();
        if let Some(clock) = text.strip_prefix("clock ")
            && let Ok(clock) = NaiveDateTime::parse_from_str(clock, CLOCK_FORMAT)
        {
            return Some(Step::Clock(clock));
        }
        if let Some(size) = text.strip_prefix("room ")
            && let Ok(size) = size.parse::<usize>()
        {
            return Some(Step::Room(size.clamp(1, OUTPUT_SIZE_MAX)));
        }
        let bytes = unescape(line.strip_prefix(b"> ").unwrap_or(line));
        (!bytes.is_empty()).then_some(Step::Read(bytes))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Clock(clock) => write!(f, "clock {}", clock.format(CLOCK_FORMAT)),
            Step::Room(size) => write!(f, "room {size}"),
            Step::Read(bytes) => write!(f, "> {}", Escaped(bytes)),
        }
    }
}

/// The shortest exact fraction of a second, and a leap second as second 60.
const CLOCK_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.f";

/// Displays bytes as in a script.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        for (index, byte) in self.0.iter().enumerate() {
            match byte {
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                b'\\' => f.write_str("\\\\")?,
                b' ' if index == last => f.write_str("\\x20")?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Returns the bytes for `text` in a script. A backslash that does not begin an escape is itself.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((first, after_first)) = text.split_first() {
        let (byte, rest) = match text {
            [b'\\', b'n', rest @ ..] => (b'\n', rest),
            [b'\\', b'r', rest @ ..] => (b'\r', rest),
            [b'\\', b't', rest @ ..] => (b'\t', rest),
            [b'\\', b'\\', rest @ ..] => (b'\\', rest),
            [b'\\', b'x', high, low, rest @ ..] => match hexadecimal(*high, *low) {
                Some(byte) => (byte, rest),
                None => (*first, after_first),
            },
            _ => (*first, after_first),
        };
        bytes.push(byte);
        text = rest;
    }
    bytes
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(16 * high + low).ok()
}
