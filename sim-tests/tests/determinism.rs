//! The same scenario gives the same trace: without this no failure could be run again.

use chime_sim_tests::chime::Scenario;
use chime_sim_tests::run;
use std::process::Command;

#[test]
fn another_process_in_another_time_zone_sees_the_same() {
    for seed in 0..100 {
        let expected = run(&Scenario::from_seed(seed)).to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["run", &seed.to_string()])
            .env("TZ", "Asia/Kathmandu")
            .output()
            .expect("it runs");
        let output = String::from_utf8(output.stdout).expect("text");
        let (trace, verdict) = output.trim_end().rsplit_once('\n').expect("lines");
        assert!(verdict.starts_with("passed"), "seed {seed}: {verdict}");
        let differs = expected
            .lines()
            .zip(trace.lines())
            .find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(
            expected.lines().count(),
            trace.lines().count(),
            "seed {seed}"
        );
    }
}

#[test]
fn a_scenario_is_what_its_json_says() {
    for seed in 0..100 {
        let scenario = Scenario::from_seed(seed);
        let read: Scenario = Scenario::from_json(scenario.to_string().as_bytes()).expect("JSON");
        assert_eq!(read, scenario, "seed {seed}");
    }
}

#[test]
fn a_trace_depends_on_its_scenario() {
    let trace = run(&Scenario::from_seed(1));
    assert_ne!(trace, run(&Scenario::from_seed(2)));
}
