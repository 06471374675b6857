//! Canaries: wrong models that the checks must catch with the generated inputs.

use std::panic::RefUnwindSafe;

use chime_model::naive::{self, Conversation};
use chime_model::strategies::{cuts, datagram, instant, line_script, script, server_bytes};
use chime_model::{
    check_client_against_server_with, check_datagram_against, check_interleaved_against,
    check_refused_against, check_replies_against, check_session_against,
};
use chime_protocol::{Command, Reply, Request, Service};
use chrono::{Days, NaiveDateTime};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

/// Runs the number of cases of the properties, the same in every run, and returns the shrunk case on which `check`
/// fails. Panics if no case fails.
fn find_failure<S: Strategy>(strategy: S, check: impl Fn(S::Value) + RefUnwindSafe) -> S::Value {
    let config = ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
        check(case);
        Ok(())
    });
    match outcome {
        Err(TestError::Fail(_, shrunk)) => shrunk,
        other => panic!("the wrong model is not caught: {other:?}"),
    }
}

type Outcome = (Option<String>, bool);

/// A bug of the original server: it omitted a zero fraction.
fn omits_a_zero_fraction(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    let (reply, closes) = naive::answer(service, command, now);
    (reply.map(|reply| reply.replace(".000000", "")), closes)
}

/// A bug of the original server: it crashed on a digit that is not ASCII.
fn sums_a_unicode_digit(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    naive::answer(
        service,
        String::from_utf8_lossy(command)
            .replace('²', "2")
            .as_bytes(),
        now,
    )
}

fn ignores_inner_blanks(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    let command = String::from_utf8_lossy(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    naive::answer(service, words.join(" ").as_bytes(), now)
}

fn wraps_sums_at_256(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    let (reply, closes) = naive::answer(service, command, now);
    let wrap = |text: String| match text.parse::<u64>() {
        Ok(sum) => (sum % 256).to_string(),
        Err(_) => text,
    };
    (reply.map(wrap), closes)
}

fn rejects_upper_case(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    match command.contains(&b'T') {
        true => naive::answer(service, b"?", now),
        false => naive::answer(service, command, now),
    }
}

fn stays_open_after_exit(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    let (reply, closes) = naive::answer(service, command, now);
    (reply, closes && command.len() != "exit".len())
}

fn always_sends_farewell(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    let (reply, closes) = naive::answer(service, command, now);
    let farewell = closes.then(|| "Thank You .. See You soon !! ".into());
    (reply.or(farewell), closes)
}

fn rounds_up_to_the_second(service: Service, command: &[u8], now: NaiveDateTime) -> Outcome {
    use chrono::{Duration, Timelike};

    let up = now.nanosecond() % 1_000_000_000 >= 999_999_999;
    naive::answer(
        service,
        command,
        if up {
            now + Duration::nanoseconds(1)
        } else {
            now
        },
    )
}

#[test]
fn wrong_replies_are_caught() {
    for wrong in [
        omits_a_zero_fraction,
        sums_a_unicode_digit,
        ignores_inner_blanks,
        wraps_sums_at_256,
        rejects_upper_case,
        stays_open_after_exit,
        always_sends_farewell,
        rounds_up_to_the_second,
    ] as [naive::Answer; 8]
    {
        find_failure(script(), |script| {
            check_session_against(wrong, &script);
        });
    }
}

/// People read the shrunk script, so it is short: one read of one line.
#[test]
fn a_failure_shrinks_to_a_short_script() {
    let script = find_failure(script(), |script| {
        check_session_against(stays_open_after_exit, &script);
    });
    let text = script.to_string();
    assert!(script.steps.len() <= 2 && text.len() < 80, "{text}");
}

#[test]
fn a_welcome_in_place_of_the_full_notice_is_caught() {
    find_failure(script(), |script| {
        let welcomed = |framing| Conversation::new(naive::answer, Service::Both, framing);
        check_refused_against(welcomed, &script);
    });
}

#[test]
fn a_wrong_reply_in_interleaved_sessions_is_caught() {
    find_failure(vec(script(), 0..5), |scripts| {
        check_interleaved_against(omits_a_zero_fraction, &scripts);
    });
}

#[test]
fn wrong_replies_to_datagrams_are_caught() {
    for wrong in [
        omits_a_zero_fraction,
        rejects_upper_case,
        rounds_up_to_the_second,
    ] as [naive::Answer; 3]
    {
        find_failure((datagram(), instant()), |(request, now)| {
            check_datagram_against(wrong, &request, now);
        });
    }
}

#[test]
fn wrong_parsers_of_replies_are_caught() {
    fn rejects_leap_seconds(line: &[u8]) -> Option<Reply> {
        naive::parse_reply(line).filter(|reply| !reply.to_string().ends_with(":60"))
    }
    fn accepts_leading_zeros(line: &[u8]) -> Option<Reply> {
        let sum = || str::from_utf8(line).ok()?.parse().ok().map(Reply::Sum);
        naive::parse_reply(line).or_else(sum)
    }
    fn uses_the_wrong_century(line: &[u8]) -> Option<Reply> {
        match naive::parse_reply(line)? {
            Reply::Date(date) if line.starts_with(b"7") => {
                Some(Reply::Date(date + Days::new(36_525)))
            }
            reply => Some(reply),
        }
    }
    for wrong in [
        rejects_leap_seconds,
        accepts_leading_zeros,
        uses_the_wrong_century,
    ] as [naive::ParseReply; 3]
    {
        find_failure((server_bytes(), cuts()), |(bytes, cuts)| {
            check_replies_against(wrong, &bytes, &cuts);
        });
    }
}

#[test]
fn a_reply_to_another_request_is_caught() {
    find_failure(line_script(), |script| {
        let is_reply_to = |_, request, _| request != Request::Command(Command::SendTime);
        check_client_against_server_with(is_reply_to, &script);
    });
}
