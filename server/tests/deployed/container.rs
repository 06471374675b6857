//! The Containerfile builds from the files that it copies.

use std::fs;
use std::path::Path;

use crate::shipped;

#[test]
fn every_workspace_member_is_copied() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array();
    let containerfile = shipped("Containerfile");
    for member in members.expect("a list") {
        let member = member.as_str().expect("a folder");
        // A package within another one is copied with it.
        let member = member.split('/').next().unwrap_or(member);
        assert!(
            containerfile.contains(&format!("\nCOPY {member} {member}\n")),
            "{member} is not copied"
        );
    }
}
