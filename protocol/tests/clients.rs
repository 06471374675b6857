//! Examples of the client's side.

use chime_protocol::{Command, Reply, ReplyDecoder, Request, RequestDecoder};
use chrono::{NaiveDate, NaiveTime, Weekday};

/// Decodes all replies in `bytes`.
fn decode(mut bytes: &[u8]) -> Vec<Result<Reply, String>> {
    let mut replies = ReplyDecoder::default();
    let lines = std::iter::from_fn(|| replies.next(&mut bytes));
    lines
        .map(|line| line.map_err(|unknown| unknown.to_string()))
        .collect()
}

#[test]
fn every_reply_is_decoded_and_formatted() {
    let date = NaiveDate::from_ymd_opt(2026, 11, 21).unwrap();
    let time = NaiveTime::from_hms_opt(6, 32, 6).unwrap();
    let micros = NaiveTime::from_hms_micro_opt(6, 32, 6, 123_456).unwrap();
    for (line, reply) in [
        ("Welcome to the server\n", Reply::Welcome),
        ("The server is full, please try again later\n", Reply::Full),
        ("Saturday\n", Reply::Weekday(Weekday::Sat)),
        ("26-11-21\n", Reply::Date(date)),
        ("06:32:06\n", Reply::Time(time)),
        (
            "2026-11-21 06:32:06.123456\n",
            Reply::DateTime(date.and_time(micros)),
        ),
        ("18446744073709551615\n", Reply::Sum(u64::MAX)),
        (
            "Commands: day, date, time, send time, a string of digits, help, quit, exit\n",
            Reply::Help,
        ),
        ("Thank You .. See You soon !! \n", Reply::Farewell),
        ("You entered an invalid command\n", Reply::CommandError),
        (
            "Please enter a valid String of Digits or type 'quit' to exit.\n",
            Reply::DigitError,
        ),
    ] {
        assert_eq!(decode(line.as_bytes()), [Ok(reply)]);
        assert_eq!(format!("{reply}\n"), line);
    }
}

#[test]
fn a_date_is_between_1970_and_2069() {
    for (line, year) in [
        ("70-01-01\n", 1970),
        ("99-01-01\n", 1999),
        ("00-01-01\n", 2000),
        ("69-01-01\n", 2069),
    ] {
        let date = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
        assert_eq!(decode(line.as_bytes()), [Ok(Reply::Date(date))]);
    }
}

#[test]
fn other_lines_are_unknown_replies() {
    for line in [
        "",
        "\r",
        "saturday",
        "Sat",
        "Saturday ",
        "Saturday\r",
        "007",
        "+7",
        "-7",
        "7.0",
        "18446744073709551616",
        "26-11-31",
        "26-2-01",
        "24:00:00",
        "6:32:06",
        "2026-11-21 06:32:06",
        "2026-11-21 06:32:06.123",
        "2026-11-21T06:32:06.123456",
        "HTTP/1.1 400",
    ] {
        let unknown = format!("not a reply of this protocol: '{}'", line.escape_default());
        assert_eq!(decode(format!("{line}\n").as_bytes()), [Err(unknown)]);
    }
}

#[test]
fn a_line_longer_than_any_reply_is_an_unknown_reply() {
    let mut replies = ReplyDecoder::new();
    let mut input: &[u8] = &[b'x'; 75];
    let unknown = replies.next(&mut input).unwrap().unwrap_err();
    assert_eq!(unknown.line(), [b'x'; Reply::TEXT_MAX]);
    assert_eq!(input, b"x");

    let mut input: &[u8] = &[b'x'; 74];
    assert_eq!(replies.next(&mut input), None);
    assert_eq!(replies.unfinished(), [b'x'; 74]);
    let mut input: &[u8] = b"\nSaturday\n";
    assert_eq!(
        replies.next(&mut input).unwrap().unwrap_err().line(),
        [b'x'; 74]
    );
    assert_eq!(
        replies.next(&mut input),
        Some(Ok(Reply::Weekday(Weekday::Sat)))
    );
}

#[test]
fn every_kind_of_request_is_decoded() {
    let mut requests = RequestDecoder::default();
    let mut input: &[u8] = b"day\ndate\ntime\nsend time\nhelp\nquit\nEXIT\n0\n\nwhat?\nqu";
    let mut commands = Command::ALL.map(Request::Command).to_vec();
    commands.extend([Request::Digits(0), Request::Invalid, Request::Invalid]);
    let read: Vec<Request> = std::iter::from_fn(|| requests.next(&mut input)).collect();
    assert_eq!(read, commands);
    let mut input: &[u8] = b"it\r";
    assert_eq!(requests.next(&mut input), None);
    assert_eq!(requests.finish(), Some(Request::Command(Command::Quit)));
    assert_eq!(requests.finish(), None);
}

#[test]
fn a_reply_can_be_padded() {
    assert_eq!(
        format!("[{:>4}] [{:<4}]", Reply::Sum(15), Reply::Sum(7)),
        "[  15] [7   ]"
    );
}
