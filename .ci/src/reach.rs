//! `cargo reach`: the lines of the server's and the client's library that a swarm of simulations runs.
//!
//! `sim-tests/unreached.toml` lists those that it does not run, each with its reason. Fails if a line is missing there,
//! or if a listed line is run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{install_tool, target_dir};

const LIST: &str = "sim-tests/unreached.toml";
const SEEDS: &str = "2000";

pub(crate) fn run(shell: &Shell) -> Result<()> {
    cmd!(shell, "rustup component add llvm-tools").run()?;
    install_tool(shell, "llvm-cov")?;
    cmd!(shell, "cargo llvm-cov clean --profraw-only").run()?;
    let report = target_dir().join("reach.info");
    cmd!(
        shell,
        "cargo llvm-cov run --no-report --release -p chime-sim-tests --bin sim -- swarm --seeds {SEEDS}"
    )
    .ignore_stdout()
    .run()?;
    cmd!(
        shell,
        "cargo llvm-cov report --release -p chime-server -p chime-client --lcov --output-path {report}"
    )
    .run()?;
    let (run, unreached) = read(&fs::read_to_string(report)?)?;
    ensure!(run > 0, "the report has no line that was run");
    let list = fs::read_to_string(LIST).context(LIST)?;
    let list: BTreeMap<String, Vec<String>> = toml::from_str(&list).context(LIST)?;
    let listed: BTreeSet<String> = list.into_values().flatten().collect();
    let differ: Vec<_> = unreached
        .symmetric_difference(&listed)
        .map(|line| match unreached.contains(line) {
            true => format!("not run and not listed: {line}"),
            false => format!("listed, but run: {line}"),
        })
        .collect();
    ensure!(differ.is_empty(), "{LIST}:\n{}", differ.join("\n"));
    println!("{run} lines run; {LIST} lists all others");
    Ok(())
}

/// Returns how many lines were run, and the others: each file without a line that was run, and of other files the first
/// line of each series of lines.
fn read(report: &str) -> Result<(usize, BTreeSet<String>)> {
    let mut run = 0;
    let mut unreached = BTreeSet::new();
    for file in report.split("end_of_record") {
        let Some(path) = file.lines().find_map(|line| line.strip_prefix("SF:")) else {
            continue;
        };
        let source = fs::read_to_string(path)?;
        let source: Vec<_> = source.lines().collect();
        let relative = path.rsplit_once("/src/").context("a path of a source")?;
        let package = relative.0.rsplit('/').next().unwrap_or_default();
        let name = format!("{package}/src/{}", relative.1);
        let lines = file.lines().filter_map(|line| line.strip_prefix("DA:"));
        let lines = lines.map(|line| -> Result<(usize, bool)> {
            let mut fields = line.split(',');
            let number = fields.next().context("a line number")?.parse()?;
            let count = fields.next().context("a count")?;
            Ok((number, count != "0"))
        });
        let lines: Vec<_> = lines.collect::<Result<_>>()?;
        let run_here = lines.iter().filter(|(_, is_run)| *is_run).count();
        run += run_here;
        if run_here == 0 {
            unreached.insert(name);
            continue;
        }
        let mut was_run = true;
        for (number, is_run) in lines {
            let text = source[number - 1].trim();
            if is_run {
                was_run = true;
            } else if text != "}" {
                // A closing brace is not run where the block before it always leaves.
                if was_run {
                    unreached.insert(format!("{name}: {text}"));
                }
                was_run = false;
            }
        }
    }
    Ok((run, unreached))
}
