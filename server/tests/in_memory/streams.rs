//! Connections over streams with short reads and writes, spurious `Pending`, and errors.

use std::fs;

use chime_model::naive;
use chime_protocol::Service;
use chime_server_model::{StreamPoll, StreamScript, check_converse, check_converse_against};
use chrono::NaiveDateTime;
use proptest::collection::vec;
use proptest::prelude::*;

fn any_poll() -> impl Strategy<Value = StreamPoll> {
    prop_oneof![
        8 => (1usize..20).prop_map(StreamPoll::AtMost),
        3 => Just(StreamPoll::Pending),
        1 => Just(StreamPoll::Error),
    ]
}

fn any_lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "framing (line|read)",
        "service (both|date-time|digit-sum)",
        "> (day|Time|send time|[0-9]{1,30}|quit|help|)(\\\\r)?(\\\\n)?",
        "> (12\\\\n){1,2000}",
    ];
    vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_stream_gets_the_same_replies(lines in any_lines(), polls in vec(any_poll(), 0..60)) {
        let polls = StreamScript { polls, ..StreamScript::default() };
        check_converse(&StreamScript::parse(format!("{polls}\n{lines}").as_bytes()));
    }

    #[test]
    fn a_script_round_trips_through_its_text(lines in any_lines(), polls in vec(any_poll(), 0..60)) {
        let polls = StreamScript { polls, ..StreamScript::default() };
        let script = StreamScript::parse(format!("{polls}\n{lines}").as_bytes());
        prop_assert_eq!(StreamScript::parse(script.to_string().as_bytes()), script);
    }
}

#[test]
fn every_seed_of_the_fuzzer_passes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/converse");
    let mut seed_count = 0;
    for seed in fs::read_dir(folder).expect("a folder of seeds") {
        let path = seed.expect("a seed").path();
        println!("{}", path.display());
        check_converse(&StreamScript::parse(&fs::read(path).expect("readable")));
        seed_count += 1;
    }
    assert!(seed_count > 0, "no seeds");
}

#[test]
#[should_panic(expected = "expected: Welcome to the server\\nSaturn day\\n")]
fn a_wrong_model_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        let (reply, closes) = naive::answer(service, command, now);
        (
            reply.map(|reply| reply.replace("Saturday", "Saturn day")),
            closes,
        )
    }
    check_converse_against(wrong, &StreamScript::parse(b"> day\\n"));
}
