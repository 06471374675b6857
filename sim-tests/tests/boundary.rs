//! The boundary between the simulator and the protocol under test: [`Protocol`](chime_sim_tests::Protocol).

use std::fs;
use std::path::{Path, PathBuf};

/// The files and folders of `src` that may name the protocol under test.
const PROTOCOL: [&str; 4] = ["chime.rs", "chime", "bin", "lib.rs"];

const NAMES: [&str; 5] = [
    "chime_client",
    "chime_server",
    "chime_protocol",
    "crate::chime",
    "Chime",
];

#[test]
fn the_simulator_does_not_name_the_protocol_under_test() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    add_files(&src, &mut files);
    files.retain(|path| !PROTOCOL.iter().any(|name| path.starts_with(src.join(name))));
    for part in ["exec", "render", "scenario", "trace", "command", "check.rs"] {
        let is_checked = files.iter().any(|path| path.starts_with(src.join(part)));
        assert!(is_checked, "no file of {part} is checked");
    }
    for path in files {
        let text = fs::read_to_string(&path).expect("the file is text");
        let code = text.lines().enumerate();
        for (index, line) in code.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for name in NAMES {
                let place = format!("{}:{}", path.display(), index + 1);
                assert!(!line.contains(name), "{place} names {name}: {line}");
            }
        }
    }
}

#[test]
fn the_library_has_no_unit_tests() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    add_files(&src, &mut files);
    assert!(!files.is_empty());
    for path in files {
        let text = fs::read_to_string(&path).expect("the file is text");
        let has_unit_tests = text.contains("#[cfg(test)]");
        // Building the library a second time takes long.
        assert!(
            !has_unit_tests,
            "{} has: `test = false` skips them",
            path.display()
        );
    }
}

/// Adds the files in a folder and in the folders below it.
fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => add_files(&path, files),
            false => files.push(path),
        }
    }
}
