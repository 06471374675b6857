//! Replays the seeds of the fuzz targets, and the inputs that local fuzzing has added.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use chime_model::targets::TARGETS;
use chime_model::{Script, check_session_against, naive};
use chime_protocol::Service;
use chrono::NaiveDateTime;

/// Returns the seeds of a target, with their paths.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let paths = fs::read_dir(folder)
        .expect("a target has a folder of seeds")
        .map(|seed| seed.expect("the folder is readable").path());
    let seeds: Vec<_> = paths
        .map(|path| {
            (
                path.display().to_string(),
                fs::read(&path).expect("a seed is readable"),
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
    fn drops_a_microsecond(
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
    assert!(
        seeds("operations").iter().any(|(_, seed)| {
            let script = Script::parse(seed);
            catch_unwind(|| check_session_against(drops_a_microsecond, &script)).is_err()
        }),
        "no seed catches the wrong model"
    );
}
