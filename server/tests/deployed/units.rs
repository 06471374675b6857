//! The units of systemd: what they leave open, and whether systemd understands them.

use std::fs;
use std::process::Command;

use crate::{deploy_folder, folder, is_installed, record, replace, shipped};

/// The units, with the most exposure that each may have.
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
fn t23_the_units_leave_little_open() {
    if !is_installed("t23", "systemd-analyze", "--version") {
        return;
    }
    let exposures = EXPOSURE_MAX.map(|(unit, _)| exposure(unit));
    let figure = format!("{} plain, {} socket-activated", exposures[0], exposures[1]);
    record("T23", "exposure by systemd-analyze security", &figure);
    for ((unit, most), exposure) in EXPOSURE_MAX.into_iter().zip(exposures) {
        assert!(exposure <= most, "{unit} has an exposure of {exposure}");
    }
}

/// The exposure of a unit, from 0 to 10.
fn exposure(unit: &str) -> f64 {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]);
    command.arg(deploy_folder().join("systemd").join(unit));
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for "));
    let figure = figure.and_then(|(_, rest)| rest.split_whitespace().nth(1));
    let figure = figure.unwrap_or_else(|| panic!("no figure for {unit} in: {text}"));
    figure.parse().expect("a number")
}

#[test]
fn systemd_understands_the_units() {
    if !is_installed(
        "systemd_understands_the_units",
        "systemd-analyze",
        "--version",
    ) {
        return;
    }
    let folder = folder("units");
    let files = UNITS.map(|unit| {
        let mut text = shipped(&format!("systemd/{unit}"));
        if unit.ends_with(".service") {
            // It has to be a program that is there.
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
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}"
    );
}
