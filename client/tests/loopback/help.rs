//! What `--help` prints, which is kept in the folder `help`.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-client --test loopback help` writes it anew.

use std::path::Path;

use snapbox::{Data, assert_data_eq};

use crate::run;

#[test]
fn the_help_of_each_command_is_as_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loopback/help");
    for command in [
        "", "day", "date", "time", "now", "sum", "help", "send", "bench",
    ] {
        let ended = run(&format!("{command} --help"));
        let name = format!("chime-client {command}")
            .trim_end()
            .replace(' ', "-");
        let kept = Data::read_from(&folder.join(name).with_extension("txt"), None);
        assert_data_eq!(ended.stdout, kept.raw());
        assert_eq!((ended.exit_code, &*ended.stderr), (Some(0), ""));
    }
}
