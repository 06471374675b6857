//! The reply to each command, in each service, at various instants.

use std::iter::zip;

use chime_protocol::{Command, Framing, RequestCounts, RequestKind, Service, Session, Status};
use chrono::NaiveDateTime;

use crate::{COMMAND_ERROR, DIGIT_ERROR, FAREWELL, Server, at};

/// C1: letter case is ignored.
#[test]
fn letter_case_is_ignored() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("DAY\nDay\ndAy\n"), "Saturday\n".repeat(3));
    assert_eq!(
        server.read("Send Time\nSEND TIME\n"),
        "2026-11-21 06:32:06.123456\n".repeat(2)
    );
    assert_eq!(server.read("QuIt\n"), FAREWELL);
}

/// C2: the weekday, the date with two digits each, and the time of day.
#[test]
fn day_date_and_time_have_their_formats() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(
        server.read("day\ndate\ntime\n"),
        "Saturday\n26-11-21\n06:32:06\n"
    );
    server.now = at("2000-02-29 23:59:59.999999");
    assert_eq!(
        server.read("day\ndate\ntime\n"),
        "Tuesday\n00-02-29\n23:59:59\n"
    );
    let mut week = String::new();
    for day in 1..=7 {
        server.now = at(&format!("2026-06-0{day} 00:00:00"));
        week += &server.read("day\n");
    }
    assert_eq!(
        week,
        "Monday\nTuesday\nWednesday\nThursday\nFriday\nSaturday\nSunday\n"
    );
}

/// C3: always six digits of a second, and exactly one space in the command.
#[test]
fn send_time_has_microseconds() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("send time\n"), "2026-11-21 06:32:06.123456\n");
    server.now = at("2021-06-11 18:45:57");
    assert_eq!(server.read("send time\n"), "2021-06-11 18:45:57.000000\n");
    for line in [
        "send  time\n",
        "send\ttime\n",
        "sendtime\n",
        "send \n",
        "send\n",
        "send time x\n",
    ] {
        assert_eq!(server.read(line), COMMAND_ERROR, "{line:?}");
    }
}

/// C4: one or more ASCII digits, and nothing else, are summed.
#[test]
fn digits_are_summed() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("12345\n007\n0\n00\n9\n"), "15\n7\n0\n0\n9\n");
    assert_eq!(server.read("12345678901234567\n"), "73\n");
    for line in [
        "-5\n",
        "+5\n",
        "1.5\n",
        "1 2\n",
        "12a\n",
        "a12\n",
        "0x1\n",
        "1234567890123456x\n",
    ] {
        assert_eq!(server.read(line), COMMAND_ERROR, "{line:?}");
    }
}

/// C5: the help is one line.
#[test]
fn help_names_the_commands() {
    assert_eq!(
        Server::with_lines(Service::Both).read("help\n"),
        "Commands: day, date, time, send time, a string of digits, help, quit, exit\n",
    );
}

/// C6: the server closes after the farewell, and reads nothing more.
#[test]
fn quit_and_exit_end_the_conversation() {
    for command in ["quit", "exit"] {
        let mut server = Server::with_lines(Service::Both);
        assert_eq!(server.read(format!("{command}\nday\n")), FAREWELL);
        assert!(server.is_closed);
        assert_eq!(server.read("day\n"), "");
        assert_eq!(server.end(), "");
    }
    let mut session = Session::new(Service::Both, Framing::Line);
    let progress = session.advance(b"quit\nday\n", &mut [0; 100], NaiveDateTime::MIN);
    assert_eq!(progress.read, "quit\n".len());
}

/// C7: anything else gets an error, and the conversation continues.
#[test]
fn any_other_command_gets_an_error() {
    let mut server = Server::with_lines(Service::Both);
    for line in [
        "what?\n",
        "days\n",
        "da\n",
        "quit now\n",
        "day day\n",
        "helpme\n",
        "\n",
    ] {
        assert_eq!(server.read(line), COMMAND_ERROR, "{line:?}");
    }
    assert_eq!(server.read("day\n"), "Saturday\n");
}

/// S1: every command has a reply.
#[test]
fn the_service_both_offers_every_command() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(
        server.read("day\ndate\ntime\n"),
        "Saturday\n26-11-21\n06:32:06\n"
    );
    assert_eq!(server.read("send time\n"), "2026-11-21 06:32:06.123456\n");
    assert!(server.read("help\n").starts_with("Commands: "));
    assert_eq!(server.read("12\n"), "3\n");
    assert_eq!(server.read("else\n"), COMMAND_ERROR);
    assert_eq!(server.read("quit\n"), FAREWELL);
}

/// S2: only `day`, `date` and `time`; it closes without a farewell.
#[test]
fn the_service_date_time_offers_the_time() {
    let mut server = Server::with_lines(Service::DateTime);
    assert_eq!(
        server.read("day\ndate\ntime\n"),
        "Saturday\n26-11-21\n06:32:06\n"
    );
    assert_eq!(
        server.read("send time\nhelp\n12\nelse\n"),
        COMMAND_ERROR.repeat(4)
    );
    assert_eq!(server.read("quit\n"), "");
    assert!(server.is_closed);
    let mut server = Server::with_lines(Service::DateTime);
    assert_eq!(server.read("exit\n"), "");
    assert!(server.is_closed);
}

/// S3: only digits; anything else gets the digit error.
#[test]
fn the_service_digit_sum_offers_sums() {
    let mut server = Server::with_lines(Service::DigitSum);
    assert_eq!(server.read("12\n"), "3\n");
    assert_eq!(
        server.read("day\ndate\ntime\nsend time\nhelp\nelse\n"),
        DIGIT_ERROR.repeat(6)
    );
    assert_eq!(server.read("exit\n"), FAREWELL);
    assert!(server.is_closed);
}

/// T1: a reply has the time of the call that completed its command, even if it is written later.
#[test]
fn the_time_is_that_of_the_call_that_completes_the_command() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("ti"), "");
    server.now = at("2026-11-21 23:59:59");
    assert_eq!(server.read("me\ntime\nda"), "23:59:59\n23:59:59\n");
    server.now = at("2026-11-22 00:00:00");
    assert_eq!(server.end(), COMMAND_ERROR);

    let (one, other) = (at("2026-11-21 06:32:06"), at("1999-12-31 23:59:59"));
    let mut session = Session::new(Service::Both, Framing::Line);
    let mut output = [0; "Welcome to the server\n06".len()];
    let progress = session.advance(b"time\n", &mut output, one);
    assert_eq!(output, *b"Welcome to the server\n06");
    assert_eq!(progress.status, Status::OutputFull);
    let progress = session.advance(b"", &mut output, other);
    assert_eq!(output[..progress.written], *b":32:06\n");
}

/// T2: commands other than the time commands have the same reply at any time.
#[test]
fn only_the_time_commands_depend_on_the_time() {
    let lines = "12345\nhelp\nwhat?\n\nquit\n";
    let replies = [at("2026-11-21 06:32:06"), NaiveDateTime::MAX].map(|now| {
        let mut server = Server::with_lines(Service::Both);
        server.now = now;
        server.read(lines)
    });
    assert_eq!(replies[0].lines().count(), 5);
    assert_eq!(replies[0], replies[1]);
}

/// C2, C3: a year outside 0 to 9999 is its last four digits; a leap second is second 60.
#[test]
fn unusual_years_and_leap_seconds_are_formatted() {
    let mut server = Server::with_lines(Service::Both);
    server.now = at("+12026-11-21 00:00:00");
    assert_eq!(
        server.read("date\nsend time\n"),
        "26-11-21\n2026-11-21 00:00:00.000000\n"
    );
    server.now = at("-0001-11-21 00:00:00");
    assert_eq!(
        server.read("date\nsend time\n"),
        "01-11-21\n0001-11-21 00:00:00.000000\n"
    );
    server.now = at("0007-01-01 00:00:00");
    assert_eq!(
        server.read("date\nsend time\n"),
        "07-01-01\n0007-01-01 00:00:00.000000\n"
    );
    server.now = at("2016-12-31 23:59:60.500");
    assert_eq!(
        server.read("time\nsend time\n"),
        "23:59:60\n2016-12-31 23:59:60.500000\n"
    );
}

#[test]
fn requests_are_counted_by_kind_when_they_are_complete() {
    let mut session = Session::new(Service::Both, Framing::Line);
    let mut all = RequestCounts::default();
    let mut count = |bytes: &[u8]| {
        let progress = session.advance(bytes, &mut [0; 1000], at("2026-11-21 06:32:06"));
        all += progress.requests;
        progress.requests
    };
    let input = b"day\nDATE\n time\r\nsend time\nhelp\n12\n\n1x\n3\nday\n4";
    let counts = |numbers: [u64; 9]| zip(RequestKind::ALL, numbers).collect::<RequestCounts>();
    assert_eq!(count(input), counts([2, 1, 1, 1, 1, 0, 0, 2, 2]));
    assert_eq!(
        count(b"\nexit\nquit\n"),
        counts([0, 0, 0, 0, 0, 0, 1, 1, 0])
    );
    assert_eq!(all, counts([2, 1, 1, 1, 1, 0, 1, 3, 2]));
    assert_eq!(all.total(), 12);
    let names = RequestKind::ALL.map(RequestKind::name);
    assert_eq!(names[..4], ["day", "date", "time", "send time"]);
    assert_eq!(names[4..], ["help", "quit", "exit", "digits", "invalid"]);
    assert!(
        all.iter()
            .map(|(_, count)| count)
            .eq([2, 1, 1, 1, 1, 0, 1, 3, 2])
    );
    let day = RequestKind::Command(Command::Day);
    let numbers = [day, RequestKind::Digits, RequestKind::Invalid].map(|kind| all[kind]);
    assert_eq!(numbers, [2, 3, 2]);
}
