//! The same scenario gives the same trace: no failure could be replayed otherwise.

use std::process::Command;

use chime_sim_tests::chime::Scenario;
use chime_sim_tests::run;

#[test]
fn another_process_in_another_time_zone_prints_the_same_trace() {
    for seed in 0..100 {
        let expected = run(&Scenario::from_seed(seed)).to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["run", &seed.to_string()])
            .env("TZ", "Asia/Kathmandu")
            .output()
            .expect("sim runs");
        let output = String::from_utf8(output.stdout).expect("text");
        let (trace, verdict) = output.trim_end().rsplit_once('\n').expect("lines");
        assert!(verdict.starts_with("passed"), "seed {seed}: {verdict}");
        let mut pairs = expected.lines().zip(trace.lines());
        assert_eq!(pairs.find(|(one, other)| one != other), None, "seed {seed}");
        let [expected, found] = [&expected, trace].map(|trace| trace.lines().count());
        assert_eq!(found, expected, "seed {seed}: lines");
    }
}

#[test]
fn json_keeps_every_field_and_is_the_debug_output() {
    for seed in 0..100 {
        let scenario = Scenario::from_seed(seed);
        let json = scenario.to_string();
        let read = Scenario::from_json(json.as_bytes());
        assert_eq!(read.as_ref(), Ok(&scenario), "seed {seed}");
        assert_eq!(format!("{scenario:?}"), json, "seed {seed}");
        assert_eq!(format!("{scenario:#?}"), json, "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let trace = run(&Scenario::from_seed(1));
    assert_ne!(trace, run(&Scenario::from_seed(2)));
}
