//! `cargo ci`: every check that a change must pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{book, fuzz, readme, target_dir};

/// Seeds that must have the same trace in debug and release builds.
const SEEDS: u32 = 100;

/// Seconds of fuzzing for each target.
const FUZZ_SECONDS: u32 = 3;

/// Filters for the commands of the README that are quick and not part of another step.
const README_FILTERS: [&str; 5] = [
    "cargo run",
    "cargo install",
    "head",
    "chime-client",
    "cargo sim",
];

pub(crate) fn run(shell: &Shell) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("tests", || Ok(cmd!(shell, "cargo test").run()?))?;
    steps.run("format", || format(shell))?;
    steps.run("clippy", || {
        Ok(cmd!(shell, "cargo clippy --all-targets -- -D warnings").run()?)
    })?;
    steps.run("documentation", || book::build(shell))?;
    steps.run("planted bugs apply", || apply_planted_bugs(shell))?;
    steps.run("determinism", || compare_traces(shell))?;
    steps.run("README commands", || {
        readme::run(shell, &README_FILTERS.map(String::from))
    })?;
    steps.run("fuzzing", || fuzz::run(shell, FUZZ_SECONDS))?;
    steps.summarize();
    Ok(())
}

/// The steps that have passed, with their durations.
#[derive(Default)]
struct Steps {
    passed: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("==> {name}");
        let start = Instant::now();
        step().with_context(|| format!("step '{name}' failed"))?;
        let duration = start.elapsed();
        println!("<== {name}: {:.1} s", duration.as_secs_f64());
        self.passed.push((name, duration));
        Ok(())
    }

    fn summarize(&self) {
        for (name, duration) in &self.passed {
            println!("{:7.1} s  {name}", duration.as_secs_f64());
        }
        let total: Duration = self.passed.iter().map(|(_, duration)| *duration).sum();
        println!("{:7.1} s  total", total.as_secs_f64());
    }
}

fn format(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo fmt --all --check").run()?;
    cmd!(shell, "cargo fmt --manifest-path fuzz/Cargo.toml --check").run()?;
    Ok(())
}

/// Checks that each planted bug still applies. Running them all takes long: `fuzz/planted-bugs/run`.
fn apply_planted_bugs(shell: &Shell) -> Result<()> {
    let mut patches = shell.read_dir("fuzz/planted-bugs")?;
    patches.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "patch")
    });
    ensure!(!patches.is_empty(), "there are no planted bugs");
    for patch in patches {
        cmd!(shell, "git apply --check {patch}").quiet().run()?;
    }
    Ok(())
}

/// Compares traces of debug and release builds byte for byte. The tests have built the debug one.
fn compare_traces(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo build --release -p chime-sim-tests --bin sim").run()?;
    for seed in 0..SEEDS {
        let seed = seed.to_string();
        let trace = |profile| -> Result<Vec<u8>> {
            let sim = target_dir().join(profile).join("sim");
            let output = cmd!(shell, "{sim} run {seed}").quiet().output()?;
            Ok(output.stdout)
        };
        let debug = trace("debug")?;
        ensure!(!debug.is_empty(), "seed {seed} has no trace");
        ensure!(
            debug == trace("release")?,
            "seed {seed} has different traces in debug and release builds"
        );
    }
    Ok(())
}
