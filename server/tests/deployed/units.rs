//! The systemd units: their exposure score, and `systemd-analyze verify`.

use std::fs;
use std::process::Command;

use crate::{deploy_folder, folder, is_installed, record, replace, shipped};

/// The services, with the maximum of their exposure scores.
const EXPOSURE_MAX: [(&str, f64); 2] = [
    ("chime-server.service", 1.3),
    ("chime-server-activated.service", 0.5),
];

const UNITS: [&str; 3] = [
    "chime-server.service",
    "chime-server-activated.service",
    "chime-server.socket",
];

#[test]
fn t23_the_systemd_units_have_a_low_exposure_score() {
    if !is_installed("t23", "systemd-analyze", "--version") {
        return;
    }
    let exposures = EXPOSURE_MAX.map(|(unit, _)| exposure(unit));
    let figure = format!("{} plain, {} socket-activated", exposures[0], exposures[1]);
    record("T23", "exposure by systemd-analyze security", &figure);
    for ((unit, max), exposure) in EXPOSURE_MAX.into_iter().zip(exposures) {
        assert!(exposure <= max, "{unit} has an exposure of {exposure}");
    }
}

/// Returns the exposure score of a unit, from 0 (best) to 10.
fn exposure(unit: &str) -> f64 {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]);
    command.arg(deploy_folder().join("systemd").join(unit));
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let score = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for "));
    let score = score.and_then(|(_, rest)| rest.split_whitespace().nth(1));
    let score = score.unwrap_or_else(|| panic!("no score for {unit} in: {text}"));
    score.parse().expect("a number")
}

#[test]
fn systemd_verifies_the_units() {
    if !is_installed("systemd_verifies_the_units", "systemd-analyze", "--version") {
        return;
    }
    let folder = folder("units");
    let files = UNITS.map(|unit| {
        let mut text = shipped(&format!("systemd/{unit}"));
        if unit.ends_with(".service") {
            // The program must exist.
            text = replace(
                &text,
                "/usr/bin/chime-server",
                env!("CARGO_BIN_EXE_chime-server"),
            );
        }
        let file = folder.join(unit);
        fs::write(&file, text).expect("written");
        file
    });
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).args(files);
    let output = command.output().expect("it runs");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
}
