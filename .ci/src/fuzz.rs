//! `cargo fuzz-all`: fuzzes each target, then the canary until it fails.

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use crate::install_tool;

/// No sanitizer: there is no unsafe code. No trace of comparisons: the dictionary has the words of the protocol, and
/// without the trace a target runs up to twice as many inputs a second.
const FLAGS: [&str; 3] = ["--sanitizer", "none", "--no-trace-compares"];

/// The target that checks against a wrong model, which the fuzzer must catch.
const CANARY: &str = "canary";
const CANARY_SECONDS: u32 = 60;
/// The report of the check when it catches the canary.
const CANARY_REPORT: &str = "wrong output";

pub(crate) fn run(shell: &Shell, seconds: u32) -> Result<()> {
    install_tool(shell, "fuzz")?;
    cmd!(shell, "cargo fuzz build {FLAGS...}").run()?;
    let targets = cmd!(shell, "cargo fuzz list").read()?;
    let targets: Vec<_> = targets.lines().filter(|target| *target != CANARY).collect();
    ensure!(!targets.is_empty(), "cargo fuzz lists no targets");
    for target in targets {
        fuzz(shell, target, seconds).run()?;
    }
    let output = fuzz(shell, CANARY, CANARY_SECONDS)
        .ignore_status()
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && report.contains(CANARY_REPORT),
        "the fuzzer does not catch its canary in {CANARY_SECONDS} s"
    );
    println!("the fuzzer catches its canary");
    Ok(())
}

fn fuzz<'a>(shell: &'a Shell, target: &str, seconds: u32) -> xshell::Cmd<'a> {
    let time = format!("-max_total_time={seconds}");
    // A scenario uses a median of 451 bytes. Otherwise short inputs show the same, and run faster.
    let length = if target == "scenario" { 4096 } else { 256 };
    let length = format!("-max_len={length}");
    cmd!(
        shell,
        "cargo fuzz run {FLAGS...} {target} -- {time} {length} -dict=fuzz/dictionary.txt"
    )
}
