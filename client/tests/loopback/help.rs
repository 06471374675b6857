//! What `--help` prints, which is kept in the folder `help`.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-client --test loopback help` writes it anew.

use std::path::Path;

use snapbox::{Data, assert_data_eq};

use crate::run;

#[test]
fn the_help_is_as_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loopback/help");
    // Of the other commands it says nothing more.
    for (arguments, file) in [
        ("--help", "chime-client.txt"),
        ("sum --help", "chime-client-sum.txt"),
        ("bench --help", "chime-client-bench.txt"),
    ] {
        let ended = run(arguments);
        let kept = Data::read_from(&folder.join(file), None);
        assert_data_eq!(ended.stdout, kept.raw());
        assert_eq!((ended.exit_code, &*ended.stderr), (Some(0), ""));
    }
}
