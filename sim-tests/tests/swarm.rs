//! Many scenarios, whatever they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use chime_sim_tests::scenario::Scenario;
use chime_sim_tests::{Scenarios, check, run};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn a_thousand_scenarios_are_right_and_reach_every_situation() {
    let campaign = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["swarm", "--seeds", "1000"])
        .current_dir(WORKSPACE)
        .output()
        .expect("it runs");
    assert!(
        campaign.status.success(),
        "{}",
        String::from_utf8_lossy(&campaign.stdout)
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 10_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failures.txt"),
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_scenario_is_right(scenario in Scenarios) {
        let checked = check(&scenario, &run(&scenario));
        prop_assert!(checked.is_ok(), "{}, in this scenario:\n{scenario}", checked.unwrap_err());
    }
}

#[test]
fn what_failed_once_is_right_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder of scenarios") {
        let path = entry.expect("a file").path();
        let scenario: Scenario =
            serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        if let Err(failure) = check(&scenario, &run(&scenario)) {
            panic!("{}: {failure}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "no scenarios");
}
