//! Lemma 6: the replies with day, date and time are those of chrono's formatting, at every instant.
//!
//! There are too many instants to try all. But the replies are made of fields: each writes one number of the date or
//! of the time of day. *Argued:* `push_date` looks only at year, month and day, `push_time` only at hour, minute,
//! second and leap second, and the fraction only at the nanoseconds: read these three places in `reply.rs`. So it
//! is enough to try every date, every second of a day, and every microsecond of a second. A check on top: each
//! is tried at more than one value of the other fields.

use chime_protocol::{DATAGRAM_MAX, Reply, answer_datagram};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Weekday};

/// Asserts that the reply to `command` at `now` consists of `parts`.
fn check(command: &str, now: NaiveDateTime, parts: &[&str]) {
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = answer_datagram(command.as_bytes(), now, &mut buffer).expect("it is a request");
    let mut rest = reply;
    for part in parts {
        rest = rest.strip_prefix(part.as_bytes()).unwrap_or(b"(other)");
    }
    assert!(
        rest.is_empty(),
        "{} at {now}, not {parts:?}",
        reply.escape_ascii()
    );
}

/// Asserts that the four replies at `now` consist of these texts.
fn check_all(now: NaiveDateTime, weekday: &str, date: &str, time: &str, micros: &str) {
    check("day", now, &[weekday]);
    check("date", now, &[&date[2..]]);
    check("time", now, &[time]);
    check("send time", now, &[date, " ", time, ".", micros]);
}

/// *Enumerated:* every day of the years 0 to 9999, in turn at the first instant and in a leap second at the end. The
/// weekdays also follow each other.
#[test]
fn every_day() {
    let first = NaiveTime::MIN;
    let leap = NaiveTime::from_hms_nano_opt(23, 59, 59, 1_999_999_999).expect("it exists");
    let mut date = NaiveDate::from_ymd_opt(0, 1, 1).expect("it exists");
    let mut weekday = date.weekday();
    let mut text = String::new();
    while date.year() <= 9999 {
        if date.day() == 1 {
            text = date.format("%Y-%m-%d").to_string();
        }
        // Within a month, chrono writes only the day anew.
        let day = [
            b'0' + (date.day() / 10) as u8,
            b'0' + (date.day() % 10) as u8,
        ];
        text.truncate(8);
        text.push_str(str::from_utf8(&day).expect("they are digits"));
        let (time, time_text, micros) = match date.ordinal() % 2 {
            0 => (first, "00:00:00", "000000"),
            _ => (leap, "23:59:60", "999999"),
        };
        check_all(
            date.and_time(time),
            weekday_name(weekday),
            &text,
            time_text,
            micros,
        );
        date = date.succ_opt().expect("it exists");
        weekday = weekday.succ();
        assert_eq!(date.weekday(), weekday);
    }
}

fn weekday_name(weekday: Weekday) -> &'static str {
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

/// *Enumerated:* every day of a leap year, and every year that chrono has, with all replies formatted by chrono. A
/// year is written as its last four digits.
#[test]
fn every_day_of_a_year_and_every_year() {
    let days = (1..=366).filter_map(|day| NaiveDate::from_yo_opt(2028, day));
    let years = (NaiveDate::MIN.year()..=NaiveDate::MAX.year())
        .filter_map(|year| NaiveDate::from_ymd_opt(year, 7, 4));
    let time = NaiveTime::from_hms_micro_opt(6, 32, 6, 123_456).expect("it exists");
    for date in days.chain(years) {
        let text = date.format("%Y-%m-%d").to_string();
        let text = &text[text.len() - 10..];
        let weekday = weekday_name(date.weekday());
        check_all(date.and_time(time), weekday, text, "06:32:06", "123456");
    }
    let mut date = now_date();
    for _ in 0..7 {
        assert_eq!(
            Reply::Weekday(date.weekday()).to_string(),
            date.format("%A").to_string()
        );
        date = date.succ_opt().expect("it exists");
    }
}

fn now_date() -> NaiveDate {
    crate::now().date()
}

/// *Enumerated:* every second of a day, with its first and its last nanosecond, and every leap second.
#[test]
fn every_second_of_a_day() {
    let date = now_date();
    let (weekday, date_text) = (weekday_name(date.weekday()), date.to_string());
    for second in 0..86_400 {
        for nano in [0, 999_999_999, 1_000_000_000, 1_999_999_999] {
            // chrono has a leap second in each minute.
            if let Some(time) = NaiveTime::from_num_seconds_from_midnight_opt(second, nano) {
                let text = time.format("%H:%M:%S").to_string();
                let micros = if nano % 1_000_000_000 == 0 {
                    "000000"
                } else {
                    "999999"
                };
                check_all(date.and_time(time), weekday, &date_text, &text, micros);
            }
        }
    }
}

/// *Enumerated:* every microsecond of a second with its first and its last nanosecond, and of a leap second with its
/// last.
#[test]
fn every_microsecond() {
    let date = now_date();
    let date_text = date.to_string();
    for micro in 0..1_000_000 {
        let micros = format!("{micro:06}");
        for (nano, text) in [
            (0, "23:59:59"),
            (999, "23:59:59"),
            (1_000_000_999, "23:59:60"),
        ] {
            let nano = nano + 1_000 * micro;
            let time = NaiveTime::from_hms_nano_opt(23, 59, 59, nano).expect("it exists");
            let parts = [&date_text, " ", text, ".", &micros];
            check("send time", date.and_time(time), &parts);
        }
    }
}
