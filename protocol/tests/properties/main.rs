//! Properties of every conversation, tested on generated ones.
//!
//! `PROPTEST_CASES=25600` runs a hundred times as many cases.

mod canaries;

use std::iter;

use arbitrary::{Arbitrary, Unstructured};
use chime_protocol::model::strategies::{
    conversation, cuts, datagram, digits, instant, instant_of, line, line_script, reads, reply,
    script, script_text, server_bytes, service,
};
use chime_protocol::model::{
    Script, Step, check_client_against_server, check_datagram, check_interleaved, check_refused,
    check_replies, check_session,
};
use chime_protocol::{
    Command, DATAGRAM_MAX, Framing, Reply, Request, RequestDecoder, Service, answer_datagram,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Returns a configuration with `count` cases per test, and a file for the seeds of failing cases.
fn cases(count: u32) -> ProptestConfig {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties/failures.txt");
    let default = ProptestConfig::default();
    let cases = count * default.cases.div_ceil(256);
    ProptestConfig {
        cases,
        // The limit on rejected cases grows with the number of cases.
        max_global_rejects: cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(path))),
        ..default
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_session_sends_the_bytes_of_the_model(script in script()) {
        check_session(&script);
    }

    #[test]
    fn any_output_sizes_give_the_same_bytes(script in script()) {
        let mut with_large_output = script.clone();
        with_large_output.steps.retain(|step| !matches!(step, Step::Room(_)));
        prop_assert_eq!(check_session(&script), check_session(&with_large_output));
    }

    #[test]
    fn any_chunking_gives_the_same_replies(
        service in service(), bytes in conversation(), one in cuts(), other in cuts(),
    ) {
        prop_assert_eq!(
            sent(service, reads(&bytes, &one)),
            sent(service, reads(&bytes, &other)),
        );
    }

    #[test]
    fn a_client_gets_one_matching_reply_per_request(script in line_script()) {
        check_client_against_server(&script);
    }

    #[test]
    fn a_refused_client_gets_only_the_full_notice(script in script()) {
        check_refused(&script);
    }

    #[test]
    fn any_server_bytes_are_decoded_as_by_the_model(bytes in server_bytes(), cuts in cuts()) {
        check_replies(&bytes, &cuts);
    }

    #[test]
    fn t01_no_reply_to_a_datagram_is_itself_a_request(request in datagram(), now in instant()) {
        check_datagram(&request, now);
    }

    #[test]
    fn a_script_round_trips_through_text(script in script()) {
        prop_assert_eq!(Script::parse(script.to_string().as_bytes()), script);
    }

    #[test]
    fn a_reply_round_trips_through_text(reply in reply()) {
        prop_assert_eq!(Reply::parse(reply.to_string().as_bytes()), Some(reply));
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn any_bytes_are_a_script(text in script_text()) {
        let script = Script::parse(&text);
        prop_assert_eq!(&Script::parse(script.to_string().as_bytes()), &script);
        let arbitrary = Script::arbitrary_take_rest(Unstructured::new(&text));
        prop_assert_eq!(arbitrary.as_ref(), Ok(&script));
        check_session(&script);
        check_refused(&script);
        check_client_against_server(&script);
    }

    #[test]
    fn interleaved_sessions_are_independent(scripts in vec(script(), 0..5)) {
        check_interleaved(&scripts);
    }

    #[test]
    fn the_welcome_comes_first_and_once(script in script()) {
        let sent = String::from_utf8(check_session(&script)).unwrap();
        prop_assert!(sent.starts_with("Welcome to the server"));
        prop_assert_eq!(sent.matches("Welcome").count(), 1);
    }

    /// One reply per line, in order, with no state left over from the previous line.
    #[test]
    fn each_line_gets_the_reply_that_it_gets_alone(
        service in service(), lines in vec(line(), 0..10), cuts in cuts(),
    ) {
        let lines: Vec<Vec<u8>> = lines.into_iter().filter(|line| is_one_line(line) && !has_quit(line)).collect();
        let alone: Vec<u8> = lines.iter().flat_map(|line| reply_line(service, line)).collect();
        let sent = sent(service, reads(&lines.concat(), &cuts));
        prop_assert_eq!(sent, [b"Welcome to the server\n", alone.as_slice()].concat());
    }

    #[test]
    fn nothing_is_sent_after_quit(
        service in service(), before in conversation(), after in conversation(), cuts in cuts(),
    ) {
        let quit = [before.as_slice(), b"\nquit\n"].concat();
        let more = [quit.as_slice(), after.as_slice()].concat();
        prop_assert_eq!(sent(service, reads(&more, &cuts)), sent(service, reads(&quit, &[])));
    }

    #[test]
    fn sums_of_digits_add_up(first in digits(), second in digits()) {
        prop_assert_eq!(sum(&format!("{first}{second}")), sum(&first) + sum(&second));
    }

    #[test]
    fn the_order_of_digits_does_not_change_the_sum(
        (digits, shuffled) in vec(b'0'..=b'9', 1..100)
            .prop_flat_map(|digits| (Just(digits.clone()), Just(digits).prop_shuffle())),
    ) {
        let text = |digits| String::from_utf8(digits).unwrap();
        prop_assert_eq!(sum(&text(digits)), sum(&text(shuffled)));
    }

    #[test]
    fn zeros_do_not_change_the_sum(digits in digits(), zeros in 0..100_usize, at in any::<prop::sample::Index>()) {
        let (before, after) = digits.split_at(at.index(digits.len() + 1));
        prop_assert_eq!(sum(&format!("{before}{}{after}", "0".repeat(zeros))), sum(&digits));
    }

    /// The preceding lines are arbitrary, so this holds in any state.
    #[test]
    fn time_replies_match_the_format_of_chrono(before in conversation(), now in instant_of(1..10_000)) {
        prop_assume!(!has_quit(&before));
        let steps = |command: &[u8]| vec![
            Step::Clock(now),
            Step::Read([before.as_slice(), b"\n", command, b"\n"].concat()),
        ];
        for (command, format) in [
            ("day", "%A"),
            ("date", "%y-%m-%d"),
            ("time", "%H:%M:%S"),
            ("send time", "%Y-%m-%d %H:%M:%S%.6f"),
        ] {
            let sent = String::from_utf8(sent(Service::Both, steps(command.as_bytes()))).unwrap();
            let expected = now.format(format).to_string();
            prop_assert_eq!(sent.lines().last(), Some(expected.as_str()));
        }
    }

    #[test]
    fn only_the_time_commands_depend_on_the_time(
        service in service(), line in line(), one in instant(), other in instant(),
    ) {
        let at = |now| sent(service, vec![Step::Clock(now), Step::Read(line.clone())]);
        prop_assume!(!line.is_empty());
        let text = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
        prop_assert!(
            at(one) == at(other) || Command::time_commands().any(|command| command.name() == text)
        );
    }
}

#[test]
fn t10_a_megabyte_of_nines_is_summed_exactly() {
    let nines = "9".repeat(1 << 20);
    assert_eq!(sum(&nines), 9 << 20);
    let script = Script {
        steps: nines
            .as_bytes()
            .chunks(1 << 16)
            .map(|read| Step::Read(read.into()))
            .collect(),
        ..Script::default()
    };
    assert_eq!(check_session(&script), b"Welcome to the server\n9437184\n");
}

#[test]
fn t02_replies_to_datagrams_of_any_length_are_not_amplified() {
    let now = Script::clock_at_start();
    let mut replies = 0;
    for length in 0..=1500 {
        for start in ["", "day", "date\n", "time\r\n", "send time"] {
            for filler in [b' ', b'0', b'\n', b'\r', b'x', 0, 0xff] {
                let mut request = start.as_bytes().to_vec();
                request.resize(length, filler);
                check_datagram(&request, now);
                replies +=
                    usize::from(answer_datagram(&request, now, &mut [0; DATAGRAM_MAX]).is_some());
            }
        }
    }
    // All four alone, `date` and `time` with their line ends, and two followed by an LF as filler.
    assert_eq!(replies, 7 * (4 + 2) + 2);
}

fn sent(service: Service, steps: Vec<Step>) -> Vec<u8> {
    check_session(&Script {
        service,
        framing: Framing::Line,
        steps,
    })
}

/// Returns the reply to `line` alone.
fn reply_line(service: Service, line: &[u8]) -> Vec<u8> {
    sent(service, reads(line, &[])).split_off("Welcome to the server\n".len())
}

fn is_one_line(line: &[u8]) -> bool {
    line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1
}

fn has_quit(mut bytes: &[u8]) -> bool {
    let mut requests = RequestDecoder::new();
    iter::from_fn(|| requests.next(&mut bytes).or_else(|| requests.finish())).any(Request::is_quit)
}

fn sum(digits: &str) -> u64 {
    match Request::of_line(digits) {
        Request::Digits(sum) => sum,
        other => panic!("{digits} is read as {other:?}"),
    }
}
