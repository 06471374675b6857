//! The seeds of the fuzz targets, and what fuzzers here have added to them, replayed.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use chime_protocol::Service;
use chime_protocol::model::targets::TARGETS;
use chime_protocol::model::{Script, check_session_against, naive};
use chrono::NaiveDateTime;

/// The seeds of a target, with their paths.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let paths = fs::read_dir(folder)
        .expect("a folder of seeds")
        .map(|seed| seed.expect("a seed").path());
    let seeds: Vec<_> = paths
        .map(|path| {
            (
                path.display().to_string(),
                fs::read(&path).expect("readable"),
            )
        })
        .collect();
    assert!(!seeds.is_empty(), "no seeds for {target}");
    seeds
}

#[test]
fn every_seed_passes_its_target() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds(name) {
            println!("{path}");
            target(&seed);
        }
    }
}

#[test]
fn a_wrong_model_is_caught() {
    fn rounds_to_the_second(
        service: Service,
        command: &[u8],
        now: NaiveDateTime,
    ) -> (Option<String>, bool) {
        let (reply, closes) = naive::answer(service, command, now);
        (
            reply.map(|reply| reply.replace(".000001", ".000000")),
            closes,
        )
    }
    let is_caught = seeds("operations").iter().any(|(_, seed)| {
        let script = Script::parse(seed);
        catch_unwind(|| check_session_against(rounds_to_the_second, &script)).is_err()
    });
    assert!(is_caught);
}
