//! What `--help` prints, which is kept in `help.txt`.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-server --test loopback help` writes it anew.

use snapbox::{assert_data_eq, file};

use crate::command;

#[test]
fn the_help_is_as_kept() {
    let output = command(&["--help"]).output().expect("it runs");
    assert_data_eq!(output.stdout, file!["help.txt"].raw());
    assert!(output.status.success() && output.stderr.is_empty());
}
