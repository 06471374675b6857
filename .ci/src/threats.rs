//! `cargo threats`: runs the tests of each threat and writes the table `server/tests/threats/README.md`.
//!
//! Fails if a threat has no test, if one of its tests fails, or if a measured threat has no figure.

use std::fmt::Write;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

const THREATS: &str = "server/tests/threats/threats.toml";
const TABLE: &str = "server/tests/threats/README.md";
/// Where the tests record their figures, a file for each threat.
const FIGURES: &str = "target/tmp/threats";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    threat: Vec<Threat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threat {
    /// `T7`, for example; the names of its tests begin with `t07_`.
    id: String,
    name: String,
    mitigation: String,
    /// Whether its tests record figures.
    is_measured: bool,
}

impl Threat {
    fn test_prefix(&self) -> Result<String> {
        let (letter, number) = self.id.split_at(1);
        let number: u32 = number
            .parse()
            .with_context(|| format!("id '{}'", self.id))?;
        Ok(match letter {
            "T" => format!("t{number:02}_"),
            letter => format!("{}{number}_", letter.to_lowercase()),
        })
    }
}

pub(crate) fn run(shell: &Shell) -> Result<()> {
    let Table { threat: threats } = toml::from_str(&shell.read_file(THREATS)?)?;
    let prefixes: Vec<_> = threats
        .iter()
        .map(Threat::test_prefix)
        .collect::<Result<_>>()?;
    shell.remove_path(FIGURES)?;
    // One test at a time, so that no test disturbs what another one measures.
    let filters = &prefixes;
    let tests = cmd!(
        shell,
        "cargo test --no-fail-fast --tests -- --test-threads=1 {filters...}"
    );
    let tests = tests.ignore_status().read()?;
    println!("{tests}");
    let mut defects = Vec::new();
    let mut rows = String::new();
    let mut figures = String::new();
    for (threat, prefix) in threats.iter().zip(&prefixes) {
        let Threat {
            id,
            name,
            mitigation,
            ..
        } = threat;
        let results = results(&tests, prefix);
        if results.is_empty() {
            defects.push(format!("{id} has no test"));
        }
        for (test, has_passed) in &results {
            if !has_passed {
                defects.push(format!("{test} failed"));
            }
        }
        let names: Vec<_> = results
            .iter()
            .map(|(test, _)| format!("`{test}`"))
            .collect();
        writeln!(
            rows,
            "| {id} | {name} | {mitigation} | {} |",
            names.join(", ")
        )?;
        let file = format!(
            "{FIGURES}/{}.txt",
            prefix.trim_end_matches('_').to_uppercase()
        );
        match shell.read_file(file) {
            Ok(text) => {
                write!(figures, "\n### {id}\n\n")?;
                for line in text.lines() {
                    writeln!(figures, "- {}", line.replacen(" | ", ": ", 1))?;
                }
            }
            Err(_) if threat.is_measured => defects.push(format!("{id} has no figure")),
            Err(_) => {}
        }
    }
    let machine = machine(shell)?;
    let table = format!(
        "# Threats, their mitigations and tests

Written by `cargo threats`, which runs these tests. Times depend on the machine; no test depends on them.

{machine}

| id | threat | mitigation | tests |
| --- | --- | --- | --- |
{rows}
## Figures
{figures}"
    );
    shell.write_file(TABLE, table)?;
    ensure!(defects.is_empty(), "{}", defects.join("\n"));
    Ok(())
}

/// Returns the tests whose names begin with `prefix`, in order, and whether each has passed.
fn results<'a>(output: &'a str, prefix: &str) -> Vec<(&'a str, bool)> {
    let result = |line: &'a str| {
        let (path, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let name = path.rsplit("::").next()?;
        name.starts_with(prefix)
            .then_some((name, result.ends_with("ok")))
    };
    let mut results: Vec<_> = output.lines().filter_map(result).collect();
    results.sort_unstable();
    results
}

/// Returns a sentence that names the machine, the date and the commit.
fn machine(shell: &Shell) -> Result<String> {
    let info = shell.read_file("/proc/cpuinfo")?;
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let (_, model) = model.unwrap_or(("", "unknown processor"));
    let kernel = shell.read_file("/proc/sys/kernel/osrelease")?;
    let date = cmd!(shell, "date -u +%F").quiet().read()?;
    let commit = cmd!(shell, "git rev-parse --short HEAD").quiet().read()?;
    let changes = cmd!(shell, "git status --porcelain -- . :!{TABLE}")
        .quiet()
        .read()?;
    let changes = if changes.is_empty() {
        ""
    } else {
        " with uncommitted changes"
    };
    Ok(format!(
        "Measured on {date} at commit {commit}{changes}, on {} cores ({model}), Linux {}.",
        available_parallelism()?,
        kernel.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::results;

    #[test]
    fn results_are_those_of_one_threat() {
        let output = "running 3 tests
test drain::t16_b ... ok
test t16_a ... FAILED
test limits::t01_c ... ok
";
        assert_eq!(results(output, "t16_"), [("t16_a", false), ("t16_b", true)]);
        assert_eq!(results(output, "t02_"), []);
    }
}
