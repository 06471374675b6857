//! Strategies for property tests and simulations: conversations, datagrams and instants that are likely to find
//! bugs.
//!
//! All are composed of parts, so that a failure shrinks to few steps, short reads and plain commands.

use std::ops::Range;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::script::{Script, Step};
use chime_protocol::{Command, Framing, Reply, Request, Service};

/// Any script, three in four with framing `line`.
pub fn script() -> impl Strategy<Value = Script> {
    prop_oneof![3 => line_script(), 1 => read_script()]
}

/// A conversation of lines, split into reads regardless of where the lines end.
pub fn line_script() -> impl Strategy<Value = Script> {
    (service(), conversation(), vec(piece(), 0..20)).prop_map(|(service, bytes, pieces)| Script {
        service,
        framing: Framing::Line,
        steps: cut(&bytes, pieces),
    })
}

/// Reads, most of which are one command each.
fn read_script() -> impl Strategy<Value = Script> {
    let read = prop_oneof![4 => command(), 1 => line(), 1 => conversation()];
    let read = read.prop_filter("a read returns something", |bytes| !bytes.is_empty());
    let step = prop_oneof![4 => read.prop_map(Step::Read), 1 => setting()];
    (service(), vec(step, 0..12)).prop_map(|(service, steps)| Script {
        service,
        framing: Framing::Read,
        steps,
    })
}

/// The text of a script as a person or a fuzzer might write it, with mistakes.
pub fn script_text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        "(service|framing|room|clock|>|#)? ?(both|digit-sum|read|line|day|time|[0-9]{0,9})",
        "> (day|[0-9]|\\\\[nrtx\\\\]?|[0-9a-f]| ){0,12}",
        "(clock )?2026-1[0-9]-2[0-9] 23:59:[56][0-9](\\.[0-9]{0,10})?",
        "\\PC{0,20}",
    ];
    let bytes = vec(any::<u8>(), 0..20);
    let line = prop_oneof![4 => line.prop_map(String::into_bytes), 1 => bytes];
    vec(line, 0..12).prop_map(|lines| lines.join(&b'\n'))
}

/// One of the three services.
fn service() -> impl Strategy<Value = Service> {
    select(vec![Service::Both, Service::DateTime, Service::DigitSum])
}

/// An optional setting, then a read with its maximum length in bytes.
type Piece = (Option<Step>, usize);

fn piece() -> impl Strategy<Value = Piece> {
    (option::weighted(0.3, setting()), piece_length())
}

fn piece_length() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..=3_usize, 2 => 1..=20_usize, 1 => 1..=400_usize]
}

/// The lengths of the pieces that bytes are split into.
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(piece_length(), 0..20)
}

/// A step that sets the clock or the output buffer size.
fn setting() -> impl Strategy<Value = Step> {
    let output_size = prop_oneof![2 => 1..=3_usize, 2 => 1..=40_usize, 1 => 1..=200_usize];
    prop_oneof![
        instant().prop_map(Step::Clock),
        output_size.prop_map(Step::Room)
    ]
}

fn cut(mut bytes: &[u8], pieces: Vec<Piece>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (setting, length) in pieces {
        let (read, rest) = bytes.split_at(length.min(bytes.len()));
        steps.extend(setting);
        steps.extend((!read.is_empty()).then(|| Step::Read(read.to_vec())));
        bytes = rest;
    }
    steps.extend((!bytes.is_empty()).then(|| Step::Read(bytes.to_vec())));
    steps
}

/// The bytes of a client: lines, some of them without a line end.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    vec(line(), 0..10).prop_map(|lines| lines.concat())
}

/// A line with its line end, or sometimes without, so that it is joined to the next.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let blanks = || prop_oneof![6 => Just(String::new()), 1 => "[ \t]{1,3}"];
    let ends = [
        "\n", "\n", "\n", "\n", "\r\n", "\r\n", "\r\n", "\r\r\n", "\r \n", "\r", "",
    ];
    (blanks(), command(), blanks(), select(ends.to_vec())).prop_map(
        |(before, command, after, end)| {
            [
                before.as_bytes(),
                &command,
                after.as_bytes(),
                end.as_bytes(),
            ]
            .concat()
        },
    )
}

/// A command or a near miss.
pub fn command() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => named(keeps_open),
        1 => named(|command| !keeps_open(command)),
        4 => digits().prop_map(String::into_bytes),
        4 => near_miss(),
        1 => vec(any::<u8>(), 0..12),
    ]
}

/// Whether the conversation continues after this command.
fn keeps_open(command: &Command) -> bool {
    !Request::Command(*command).is_quit()
}

/// One of the commands that satisfy the predicate, in mixed case.
fn named(predicate: impl Fn(&Command) -> bool) -> impl Strategy<Value = Vec<u8>> {
    let commands = Command::ALL.into_iter().filter(predicate);
    let names: Vec<_> = commands.map(Command::name).collect();
    (select(names), any::<u16>()).prop_map(|(name, capitals)| {
        let mut name = name.as_bytes().to_vec();
        for (index, byte) in name.iter_mut().enumerate() {
            if capitals >> index & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        name
    })
}

/// Strings of digits, some with leading zeros, some longer than the blocks that are summed at once.
fn digits() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[0-9]{1,12}", 2 => "0{0,20}[0-9]{1,20}", 1 => "[0-9]{1,200}", 1 => "9{1,99}"]
}

/// Commands that are not quite valid.
pub const NEAR_MISSES: &[&[u8]] = &[
    b"",
    b" ",
    b"\r",
    b"\t\r",
    b"1 2",
    b"1\t2",
    b"-5",
    b"+5",
    b"1.5",
    b"1e3",
    b"0x10",
    b"day1",
    b"1day",
    b"quitt",
    b"qui",
    b"exit ?",
    b"day\r\r",
    b"da\ry",
    b"d ay",
    b"\rday",
    b"day\0",
    b"day\x0b",
    b"sendtime",
    b"send  time",
    b"send\ttime",
    b"send \ttime",
    b"send time now",
    b"send",
    b"send ",
    b"time send",
    b"what?",
    b"\xc2\xb2",
    b"\xd9\xa1",
    b"\xef\xbc\x91",
    b"da\xff",
    b"\xffday",
    b"12\xff34",
    b"he\xc5\x82p",
    b"T\xc4\xb0ME",
    b"0000000000000000x",
    b"00000000000000000x",
    b"123456789012345\r6",
];

fn near_miss() -> impl Strategy<Value = Vec<u8>> {
    let long = "[a-z ]{8,40}".prop_map(String::into_bytes);
    // A neighbour of the digits in ASCII, or any byte.
    let middle = prop_oneof![select(b"/:".to_vec()), any::<u8>()];
    let corrupted = (digits(), middle, digits())
        .prop_map(|(before, byte, after)| [before.as_bytes(), &[byte], after.as_bytes()].concat());
    prop_oneof![4 => select(NEAR_MISSES).prop_map(<[u8]>::to_vec), 1 => long, 2 => corrupted]
}

/// A datagram: a request, a near miss, or neither.
pub fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let ends: &[&str] = &[
        "", "", "\n", "\n", "\r\n", "\r\n", "\r", "\n\n", "\r\r\n", " ", "\0",
    ];
    let request = (named(keeps_open), select(ends))
        .prop_map(|(command, end)| [command.as_slice(), end.as_bytes()].concat());
    prop_oneof![4 => request, 1 => line(), 1 => server_bytes(), 1 => vec(any::<u8>(), 0..1500)]
}

/// The bytes of a hostile server: replies, near misses, lines of about the maximum length.
pub fn server_bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => reply().prop_map(|reply| reply.to_string().into_bytes()),
        1 => (reply(), any::<u8>()).prop_map(|(reply, byte)| format!("{reply}{byte}").into_bytes()),
        2 => "[0-9]{2}[-:][0-9]{2}[-:][0-9]{2}".prop_map(String::into_bytes),
        1 => "[0-6][0-9]:[0-5][0-9]:(59|60|61)".prop_map(String::into_bytes),
        1 => "[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{5,7}"
            .prop_map(String::into_bytes),
        1 => "[+0]?[0-9]{0,22}".prop_map(String::into_bytes),
        1 => "(mon|Mon|monday|MONDAY|Monday )".prop_map(String::into_bytes),
        2 => (Reply::TEXT_MAX - 2..=Reply::TEXT_MAX + 2).prop_map(|length| vec![b'-'; length]),
        1 => vec(any::<u8>(), 0..200),
    ];
    let end = select(vec!["\n", "\n", "\n", "\n", "\n", "\r\n", ""]);
    let terminated = (line, end).prop_map(|(line, end)| [line.as_slice(), end.as_bytes()].concat());
    vec(terminated, 0..8).prop_map(|lines| lines.concat())
}

/// The replies with a fixed text.
pub const FIXED_REPLIES: [Reply; 6] = [
    Reply::Welcome,
    Reply::Full,
    Reply::Help,
    Reply::Farewell,
    Reply::CommandError,
    Reply::DigitError,
];

/// Any reply.
pub fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        select(&FIXED_REPLIES[..]),
        any::<u64>().prop_map(Reply::Sum),
        (0..100_u64).prop_map(Reply::Sum),
        (0..7_u8).prop_map(|day| Reply::Weekday(day.try_into().expect("a week has 7 days"))),
        instant_of(1970..2070).prop_map(|instant| Reply::Date(instant.date())),
        // A time of day has no fraction on the wire.
        instant().prop_map(|instant| Reply::Time(whole_micros(instant, 1_000_000).time())),
        instant_of(0..10_000).prop_map(|instant| Reply::DateTime(whole_micros(instant, 1))),
    ]
}

/// Rounds the instant down to a multiple of `unit` microseconds.
fn whole_micros(instant: NaiveDateTime, unit: u32) -> NaiveDateTime {
    use chrono::Timelike;

    let nanos = instant.nanosecond() / (1_000 * unit) * (1_000 * unit);
    instant
        .with_nanosecond(nanos)
        .expect("fewer nanoseconds than before")
}

/// Any instant: most are of our time, many are on a boundary, some are in a leap second.
pub fn instant() -> impl Strategy<Value = NaiveDateTime> {
    let years = prop_oneof![Just(1970..2070), Just(1..10_000), Just(-20_000..20_000)];
    let ends = select(vec![NaiveDateTime::MIN, NaiveDateTime::MAX]);
    prop_oneof![50 => years.prop_flat_map(instant_of), 1 => ends]
}

/// Any instant in a range of years.
fn instant_of(years: Range<i32>) -> impl Strategy<Value = NaiveDateTime> {
    let date = (
        years,
        prop_oneof![3 => 1..=366_u32, 1 => select(vec![1, 59, 60, 365, 366])],
    );
    let date = date.prop_map(|(year, day)| {
        let last = || NaiveDate::from_yo_opt(year, 365);
        NaiveDate::from_yo_opt(year, day)
            .or_else(last)
            .expect("every year has 365 days")
    });
    let second = prop_oneof![3 => 0..86_400_u32, 1 => select(vec![0, 43_199, 43_200, 86_399])];
    let nanos =
        prop_oneof![3 => 0..1_000_000_000_u32, 1 => select(vec![0, 999, 1_000, 999_999_999])];
    let time = (second, nanos, prop::bool::weighted(0.1)).prop_map(|(second, nanos, is_leap)| {
        let time = match is_leap {
            true => (second / 60 * 60 + 59, nanos + 1_000_000_000),
            false => (second, nanos),
        };
        NaiveTime::from_num_seconds_from_midnight_opt(time.0, time.1).expect("a time of day")
    });
    (date, time).prop_map(|(date, time)| date.and_time(time))
}
