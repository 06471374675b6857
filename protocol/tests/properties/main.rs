//! Properties of every conversation, tested on generated ones. What is proved for all of them is in `tests/proof`.
//!
//! `PROPTEST_CASES=25600` runs a hundred times as many cases.

mod canaries;

use arbitrary::{Arbitrary, Unstructured};
use chime_model::strategies::{
    cuts, datagram, instant, line_script, reply, script, script_text, server_bytes,
};
use chime_model::{
    Script, Step, check_client_against_server, check_datagram, check_interleaved, check_refused,
    check_replies, check_session,
};
use chime_protocol::{DATAGRAM_MAX, Reply, Request, answer_datagram};
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

fn sum(digits: &str) -> u64 {
    match Request::of_line(digits) {
        Request::Digits(sum) => sum,
        other => panic!("{digits} is read as {other:?}"),
    }
}
