//! Wrong models, which the checks must catch with what is tried on them: checks of the checks.

use std::panic::RefUnwindSafe;

use chime_protocol::model::naive::{self, Conversation};
use chime_protocol::model::strategies::{
    cuts, datagram, instant, line_script, script, server_bytes,
};
use chime_protocol::model::{
    check_client_against_server_with, check_datagram_against, check_interleaved_against,
    check_refused_against, check_replies_against, check_session_against,
};
use chime_protocol::{Command, Reply, Request, Service};
use chrono::{Days, NaiveDateTime};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

/// The smallest case that `check` fails on: the test fails if there is none in as many as the
/// properties try, the same each time.
fn caught<S: Strategy>(strategy: S, check: impl Fn(S::Value) + RefUnwindSafe) -> S::Value {
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
        Err(TestError::Fail(_, smallest)) => smallest,
        other => panic!("the wrong model is not caught: {other:?}"),
    }
}

type Answered = (Option<String>, bool);

/// The original server left the fraction out when it was zero.
fn leaves_out_a_zero_fraction(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    let (reply, closes) = naive::answer(service, command, now);
    (reply.map(|reply| reply.replace(".000000", "")), closes)
}

/// The original server met a digit that is not ASCII with a crash.
fn counts_any_digit(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    naive::answer(
        service,
        String::from_utf8_lossy(command)
            .replace('²', "2")
            .as_bytes(),
        now,
    )
}

fn does_not_mind_blanks_inside(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    let command = String::from_utf8_lossy(command);
    let words: Vec<&str> = command.split_whitespace().collect();
    naive::answer(service, words.join(" ").as_bytes(), now)
}

fn sums_in_a_byte(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    let (reply, closes) = naive::answer(service, command, now);
    let wrap = |text: String| match text.parse::<u64>() {
        Ok(sum) => (sum % 256).to_string(),
        Err(_) => text,
    };
    (reply.map(wrap), closes)
}

fn minds_capitals(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    match command.contains(&b'T') {
        true => naive::answer(service, b"?", now),
        false => naive::answer(service, command, now),
    }
}

fn stays_after_exit(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    let (reply, closes) = naive::answer(service, command, now);
    (reply, closes && command.len() != "exit".len())
}

fn always_says_farewell(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
    let (reply, closes) = naive::answer(service, command, now);
    let farewell = closes.then(|| "Thank You .. See You soon !! ".into());
    (reply.or(farewell), closes)
}

fn rounds_the_second(service: Service, command: &[u8], now: NaiveDateTime) -> Answered {
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
fn wrong_answers_are_caught() {
    for wrong in [
        leaves_out_a_zero_fraction,
        counts_any_digit,
        does_not_mind_blanks_inside,
        sums_in_a_byte,
        minds_capitals,
        stays_after_exit,
        always_says_farewell,
        rounds_the_second,
    ] as [naive::Answer; 8]
    {
        caught(script(), |script| {
            check_session_against(wrong, &script);
        });
    }
}

/// It is what a person reads, so it must be short: one read, of one line.
#[test]
fn a_failure_shrinks_to_a_short_script() {
    let script = caught(script(), |script| {
        check_session_against(stays_after_exit, &script);
    });
    let text = script.to_string();
    assert!(script.steps.len() <= 2 && text.len() < 80, "{text}");
}

#[test]
fn a_welcome_in_place_of_the_notice_is_caught() {
    caught(script(), |script| {
        let welcomed = |framing| Conversation::new(naive::answer, Service::Both, framing);
        check_refused_against(welcomed, &script);
    });
}

#[test]
fn a_wrong_answer_to_one_of_many_is_caught() {
    caught(vec(script(), 0..5), |scripts| {
        check_interleaved_against(leaves_out_a_zero_fraction, &scripts);
    });
}

#[test]
fn wrong_datagrams_are_caught() {
    for wrong in [
        leaves_out_a_zero_fraction,
        minds_capitals,
        rounds_the_second,
    ] as [naive::Answer; 3]
    {
        caught((datagram(), instant()), |(request, now)| {
            check_datagram_against(wrong, &request, now);
        });
    }
}

#[test]
fn wrong_readings_of_replies_are_caught() {
    fn knows_no_leap_second(line: &[u8]) -> Option<Reply> {
        naive::parse_reply(line).filter(|reply| !reply.to_string().ends_with(":60"))
    }
    fn does_not_mind_leading_zeros(line: &[u8]) -> Option<Reply> {
        let sum = || str::from_utf8(line).ok()?.parse().ok().map(Reply::Sum);
        naive::parse_reply(line).or_else(sum)
    }
    fn has_another_century(line: &[u8]) -> Option<Reply> {
        match naive::parse_reply(line)? {
            Reply::Date(date) if line.starts_with(b"7") => {
                Some(Reply::Date(date + Days::new(36_525)))
            }
            reply => Some(reply),
        }
    }
    for wrong in [
        knows_no_leap_second,
        does_not_mind_leading_zeros,
        has_another_century,
    ] as [naive::ParseReply; 3]
    {
        caught((server_bytes(), cuts()), |(bytes, cuts)| {
            check_replies_against(wrong, &bytes, &cuts);
        });
    }
}

#[test]
fn a_reply_that_does_not_fit_is_caught() {
    caught(line_script(), |script| {
        let fits = |_, request, _| request != Request::Command(Command::SendTime);
        check_client_against_server_with(fits, &script);
    });
}
