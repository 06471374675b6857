//! The output of `--help`, compared with the snapshot `help.txt`.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-server --test loopback help` updates the snapshot.

use snapbox::{assert_data_eq, file};

use crate::command;

#[test]
fn the_help_matches_its_snapshot() {
    let output = command(&["--help"]).output().expect("it runs");
    assert_data_eq!(output.stdout, file!["help.txt"].raw());
    assert!(output.status.success() && output.stderr.is_empty());
}
