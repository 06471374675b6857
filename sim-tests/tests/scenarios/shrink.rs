//! Shrinking of scenarios.

use chime_sim_tests::Chime;
use chime_sim_tests::scenario::{FaultKind, Scenario, shrink, shrink_candidates};
use serde_json::Value;

#[test]
fn nothing_is_left_if_everything_fails() {
    for seed in 0..20 {
        let scenario = shrink(Scenario::<Chime>::from_seed(seed), 20_000, |_| true);
        assert_eq!(scenario, Scenario::default(), "seed {seed}");
    }
}

#[test]
fn only_a_crash_is_left_if_crashes_fail() {
    let has_crash = |scenario: &Scenario<Chime>| {
        let mut kinds = scenario.faults.iter().map(|fault| &fault.kind);
        kinds.any(|kind| *kind == FaultKind::Crash)
    };
    let scenarios = (0..20).map(Scenario::from_seed).filter(has_crash);
    let mut count = 0;
    for scenario in scenarios {
        let scenario = shrink(scenario, 20_000, has_crash);
        let expected = r#"{"faults":[{"at_ms":0,"for_ms":0,"kind":"crash"}]}"#;
        let value: Value = serde_json::from_str(&scenario.to_string()).expect("JSON");
        assert_eq!(value.to_string(), expected);
        count += 1;
    }
    assert!(count > 0, "no scenario has a crash");
}

#[test]
fn a_new_field_is_shrunk() {
    let value = serde_json::json!({"new": {"number": -4, "text": "abc", "items": [1, 2]}});
    let found = shrink_candidates(&value, &serde_json::json!({"new": {"number": -1}}));
    for expected in [
        r#"{}"#,
        r#"{"new":{"text":"abc","items":[1,2]}}"#,
        r#"{"new":{"number":-1,"text":"abc","items":[1,2]}}"#,
        r#"{"new":{"number":-3,"text":"abc","items":[1,2]}}"#,
        r#"{"new":{"number":-4,"text":"ab","items":[1,2]}}"#,
        r#"{"new":{"number":-4,"text":"bc","items":[1,2]}}"#,
        r#"{"new":{"number":-4,"text":"abc","items":[]}}"#,
        r#"{"new":{"number":-4,"text":"abc","items":[2]}}"#,
        r#"{"new":{"number":-4,"text":"abc","items":[1,1]}}"#,
    ] {
        let value: Value = serde_json::from_str(expected).expect("JSON");
        assert!(found.contains(&value), "{expected} is not among {found:#?}");
    }
}
