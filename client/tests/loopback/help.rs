//! The output of `--help`, compared with the snapshots in `help/`.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-client --test loopback help` updates them.

use std::path::Path;

use snapbox::{Data, assert_data_eq};

use crate::run;

#[test]
fn the_help_matches_its_snapshots() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loopback/help");
    // The other commands have no options of their own.
    for (arguments, file) in [
        ("--help", "chime-client.txt"),
        ("sum --help", "chime-client-sum.txt"),
        ("bench --help", "chime-client-bench.txt"),
        ("ping --help", "chime-client-ping.txt"),
    ] {
        let outcome = run(arguments);
        let snapshot = Data::read_from(&directory.join(file), None);
        assert_data_eq!(outcome.stdout, snapshot.raw());
        assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(0), ""));
    }
}
