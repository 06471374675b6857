//! Lemma 9: the client's decoder splits a server's bytes into lines and parses them as the model does.
//!
//! The decoder keeps the line itself, 74 bytes, so its values are too many to try. *Argued:* what it does depends
//! on the number of these bytes, and on where the next LF is: read the 20 lines of `ReplyDecoder::next`. What is
//! in the bytes counts only for `Reply::parse`, once the line is complete. So splitting and parsing are two lemmas.

use chime_model::check_replies;
use chime_model::naive::parse_reply;
use chime_protocol::{Reply, ReplyDecoder};
use chrono::{NaiveDate, NaiveTime};

/// Lines are split at LF, or where they are too long, whatever the cut of the input. *Enumerated:* each number of
/// bytes in the buffer, with each number of bytes behind them, ended by LF or not. [`check_replies`] compares
/// with the model after each piece.
#[test]
fn lines_of_any_length_are_split_alike() {
    for length in 0..=2 * Reply::TEXT_MAX + 2 {
        let line: Vec<u8> = (0..length).map(|index| b'a' + (index % 26) as u8).collect();
        let bytes = [&line[..], b"\n15\n\nx"].concat();
        for cut in 0..=length + 2 {
            check_replies(&bytes, &[cut]);
            check_replies(&bytes, &[cut, 1, 1]);
        }
        check_replies(&line, &vec![1; length]);
        let mut decoder = ReplyDecoder::default();
        assert_eq!(decoder, ReplyDecoder::new());
        if length <= Reply::TEXT_MAX {
            assert_eq!(decoder.next(&mut &line[..]), None);
            assert_eq!(decoder.unfinished(), line);
        }
    }
}

/// Each byte but LF is part of the line. *Enumerated:* each of the 256 bytes, at each number of bytes before it.
#[test]
fn only_lf_ends_a_line() {
    for byte in 0..=255 {
        for length in 0..=Reply::TEXT_MAX {
            let mut bytes = vec![b'0'; length];
            bytes.extend([byte, b'\n', b'7', b'\n']);
            check_replies(&bytes, &[length]);
        }
    }
}

/// A line that is unknown is kept for the error message. *Enumerated:* one per kind.
#[test]
fn an_unknown_line_is_kept() {
    for line in ["", "day", "015", &"x".repeat(Reply::TEXT_MAX)] {
        let input = format!("{line}\n");
        let error = ReplyDecoder::new()
            .next(&mut input.as_bytes())
            .unwrap()
            .unwrap_err();
        assert_eq!(error.line(), line.as_bytes());
        assert!(error.to_string().ends_with(&format!("'{line}'")));
    }
}

fn check_parse(text: &[u8]) {
    assert!(
        Reply::parse(text) == parse_reply(text),
        "{}",
        text.escape_ascii()
    );
}

/// Each reply is parsed, and nothing that differs from it in a byte. *Enumerated:* each reply, with each byte
/// replaced by each of the 256, left out, or with each of the 256 in front of it or at the end.
#[test]
fn a_reply_with_one_wrong_byte_is_parsed_as_by_the_model() {
    let now = crate::now();
    let replies = [
        Reply::Welcome,
        Reply::Full,
        Reply::Help,
        Reply::Farewell,
        Reply::CommandError,
        Reply::DigitError,
        Reply::Date(now.date()),
        Reply::Time(now.time()),
        Reply::DateTime(now),
        Reply::Sum(0),
        Reply::Sum(10),
        Reply::Sum(u64::MAX),
    ];
    let mut date = now.date();
    let weekdays = (0..7).map(|_| {
        date = date.succ_opt().expect("it exists");
        date.format("%A").to_string()
    });
    let texts: Vec<String> = replies
        .map(|reply| reply.to_string())
        .into_iter()
        .chain(weekdays)
        .collect();
    for text in texts {
        assert!(Reply::parse(text.as_bytes()).is_some_and(|reply| reply.to_string() == text));
        for position in 0..=text.len() {
            let (before, rest) = text.as_bytes().split_at(position);
            let after = rest.get(1..).unwrap_or_default();
            check_parse(before);
            check_parse(&[before, after].concat());
            for byte in 0..=255 {
                check_parse(&[before, &[byte], after].concat());
                check_parse(&[before, &[byte], rest].concat());
            }
        }
    }
}

/// Numbers of two digits are parsed in each field. *Enumerated:* all pairs of month and day in all years of two
/// digits, as far as each can be valid; each number in each field of a time and of date and time.
#[test]
fn every_number_in_every_field_is_parsed_as_by_the_model() {
    for year in 0..100 {
        for month in 0..14 {
            for day in 0..33 {
                check_parse(format!("{year:02}-{month:02}-{day:02}").as_bytes());
            }
        }
    }
    for number in 0..100 {
        for text in [
            format!("26-{number:02}-01"),
            format!("26-01-{number:02}"),
            format!("{number:02}:59:59"),
            format!("23:{number:02}:59"),
            format!("23:59:{number:02}"),
            format!("2026-{number:02}-01 06:32:06.123456"),
            format!("2026-01-{number:02} 06:32:06.123456"),
            format!("2026-01-01 {number:02}:32:06.123456"),
            format!("2026-01-01 06:{number:02}:06.123456"),
            format!("2026-01-01 06:32:{number:02}.123456"),
            format!("2026-01-01 06:32:06.{number:06}"),
        ] {
            check_parse(text.as_bytes());
        }
    }
    for year in 0..10_000 {
        check_parse(format!("{year:04}-02-29 06:32:60.000001").as_bytes());
    }
}

/// Sums are parsed up to the largest. *Enumerated:* the numbers around each power of ten and the largest, also with
/// a leading zero or a sign.
#[test]
fn sums_are_parsed_as_by_the_model() {
    let powers = (0..21).map(|exponent| 10_u128.pow(exponent));
    let largest = u128::from(u64::MAX);
    for sum in powers
        .chain([largest])
        .flat_map(|sum| [sum - 1, sum, sum + 1])
    {
        for text in [
            format!("{sum}"),
            format!("0{sum}"),
            format!("+{sum}"),
            format!("-{sum}"),
        ] {
            check_parse(text.as_bytes());
        }
    }
}

/// Dates without a century are between 1970 and 2069, and what is parsed is the value that was sent. *Enumerated:*
/// every day of these years, and every second of a day.
#[test]
fn dates_and_times_round_trip() {
    let mut date = NaiveDate::from_ymd_opt(1970, 1, 1).expect("it exists");
    let end = NaiveDate::from_ymd_opt(2070, 1, 1).expect("it exists");
    while date < end {
        let reply = Reply::Date(date);
        assert_eq!(Reply::parse(reply.to_string().as_bytes()), Some(reply));
        date = date.succ_opt().expect("it exists");
    }
    for second in 0..86_400 {
        let time = NaiveTime::from_num_seconds_from_midnight_opt(second, 0).expect("it exists");
        let reply = Reply::Time(time);
        assert_eq!(Reply::parse(reply.to_string().as_bytes()), Some(reply));
    }
}
