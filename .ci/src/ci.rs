//! `cargo ci`: every check that a change must pass, and `cargo ci --scheduled`: those that take longer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::{book, fuzz, install_tool, readme, target_dir};

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

/// Commands of the README that begin so are parts of the step "tests".
const TESTS: &str = "cargo test";

/// The workflow that runs the other commands of the README.
const SCHEDULED: &str = ".github/workflows/scheduled.yml";

/// The configuration of mutation testing.
const MUTANTS: &str = ".cargo/mutants.toml";

/// The packages that can be published, each after those that it depends on.
const PUBLISHED: [&str; 3] = ["chime-protocol", "chime-client", "chime-server"];

/// Other platforms, and the number of published packages that build for them.
const PLATFORMS: [(&str, usize); 4] = [
    ("aarch64-apple-darwin", 3),
    ("x86_64-unknown-freebsd", 3),
    ("x86_64-pc-windows-gnu", 2),
    ("thumbv7m-none-eabi", 1),
];

/// Planted bugs that together every engine finds, and the number of engines that find each.
const PLANTED_BUGS: [(&str, usize); 4] = [
    ("two-crs-before-lf-accepted", 6),
    ("no-half-close", 5),
    // A race of threads: only the exploration of interleavings finds it, a unit test.
    ("address-limit-checked-and-counted-under-two-locks", 1),
    ("client-accepts-full-notice-as-welcome", 2),
];

pub(crate) fn run(shell: &Shell) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("gates", || check_gates(shell))?;
    steps.run("tests", || Ok(cmd!(shell, "cargo test").run()?))?;
    steps.run("tests in a hostile environment", || test_elsewhere(shell))?;
    steps.run("format", || format(shell))?;
    steps.run("clippy", || {
        Ok(cmd!(
            shell,
            "cargo clippy --workspace --all-targets -- -D warnings"
        )
        .run()?)
    })?;
    steps.run("documentation", || book::build(shell))?;
    steps.run("platforms", || check_platforms(shell))?;
    steps.run("oldest Rust", || check_oldest_rust(shell))?;
    steps.run("planted bugs apply", || apply_planted_bugs(shell))?;
    steps.run("determinism", || compare_traces(shell))?;
    steps.run("README commands", || {
        readme::run(shell, &README_FILTERS.map(String::from))
    })?;
    steps.run("fuzzing", || fuzz::run(shell, FUZZ_SECONDS))?;
    steps.summarize();
    Ok(())
}

/// Runs the checks that take too long for every change, except the commands of the README.
pub(crate) fn run_scheduled(shell: &Shell) -> Result<()> {
    // One folder for all steps, also for those in a copy of the tree, so that dependencies are built once.
    let _target_dir = shell.push_env("CARGO_TARGET_DIR", shell.current_dir().join(target_dir()));
    let mut steps = Steps::default();
    steps.run("packages", || package(shell))?;
    steps.run("exclusions of mutants", || check_exclusions(shell))?;
    steps.run("planted bugs", || find_planted_bugs(shell))?;
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

/// Checks that each command of the README, and so each claim, is run here or by the scheduled workflow.
fn check_gates(shell: &Shell) -> Result<()> {
    let workflow = shell.read_file(SCHEDULED)?;
    let scheduled: Vec<_> = workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- README: "))
        .collect();
    let commands = readme::commands(shell)?;
    for filter in README_FILTERS.iter().chain(&scheduled) {
        let is_used = commands.iter().any(|command| command.contains(filter));
        ensure!(is_used, "no command of the README contains '{filter}'");
    }
    for command in commands {
        let is_here = command.starts_with(TESTS)
            || README_FILTERS.iter().any(|filter| command.contains(filter));
        ensure!(
            is_here || scheduled.iter().any(|filter| command.contains(filter)),
            "{SCHEDULED} does not run this command of the README: {command}"
        );
    }
    Ok(())
}

/// Runs the tests of the protocol and those with real sockets without IPv6, with few descriptors, with the default ports
/// in use, and with all variables set that could matter. `cargo test` has built them.
fn test_elsewhere(shell: &Shell) -> Result<()> {
    let in_namespace = ["--map-root-user", "--net", "bash", "-euc"];
    let prepare = "ip link set lo up; f=/proc/sys/net/ipv6/conf/all/disable_ipv6; test ! -e $f || echo 1 > $f";
    let probe = cmd!(shell, "unshare {in_namespace...} {prepare}");
    if probe.ignore_stderr().quiet().run().is_err() {
        println!("skipped: unshare(1) or ip(8) is missing or not permitted");
        return Ok(());
    }
    let server = target_dir().join("debug/chime-server");
    let tests = r#"
        ulimit -Sn 256
        "$0" &
        trap "kill $!" EXIT
        export CHIME_CONFIG=/none.toml CHIME_LOG=none CHIME_SERVER=none:1 CHIME_TIMEOUT=none NOTIFY_SOCKET=/none
        export COLUMNS=20 LC_ALL=tr_TR.UTF-8 NO_COLOR=1 TZ=Asia/Kathmandu
        cargo test --offline --test proof --test transcripts --test in_memory --test loopback --test threats
    "#;
    let script = format!("{prepare}{tests}");
    cmd!(shell, "unshare {in_namespace...} {script} {server}").run()?;
    Ok(())
}

/// Checks the packages on other platforms than this one.
fn check_platforms(shell: &Shell) -> Result<()> {
    for (target, count) in PLATFORMS {
        cmd!(shell, "rustup target add {target}").quiet().run()?;
        let packages = PUBLISHED[..count].iter().flat_map(|name| ["-p", name]);
        cmd!(shell, "cargo check --target {target} {packages...}").run()?;
    }
    Ok(())
}

/// Checks the packages with the oldest Rust that they claim to support.
fn check_oldest_rust(shell: &Shell) -> Result<()> {
    let manifest = shell.read_file("Cargo.toml")?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .context("Cargo.toml has no rust-version")?
        .trim_matches('"');
    cmd!(
        shell,
        "rustup toolchain install --profile minimal {version}"
    )
    .run()?;
    let packages = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    cmd!(shell, "cargo +{version} check {packages...}").run()?;
    Ok(())
}

/// Packs the crates that can be published, and builds what was packed.
fn package(shell: &Shell) -> Result<()> {
    let packages = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    // Uncommitted changes are packed, too.
    cmd!(shell, "cargo package --allow-dirty {packages...}").run()?;
    Ok(())
}

/// Checks that each exclusion from mutation testing still excludes something.
fn check_exclusions(shell: &Shell) -> Result<()> {
    install_tool(shell, "mutants")?;
    #[derive(Deserialize)]
    struct Config {
        exclude_re: Vec<String>,
    }
    let config: Config = toml::from_str(&shell.read_file(MUTANTS)?)?;
    let mutants = cmd!(shell, "cargo mutants --no-config --list").read()?;
    for pattern in config.exclude_re {
        // Unlike `-q`, `-c` reads all of its input.
        cmd!(shell, "grep -cE {pattern}")
            .stdin(&mutants)
            .run()
            .with_context(|| format!("{MUTANTS}: no mutant matches '{pattern}'"))?;
    }
    Ok(())
}

/// Checks that each engine finds one of a few planted bugs. To run them all takes long: `fuzz/planted-bugs/run`.
fn find_planted_bugs(shell: &Shell) -> Result<()> {
    let bugs = PLANTED_BUGS.map(|(bug, _)| bug);
    let results = cmd!(shell, "fuzz/planted-bugs/run {bugs...}").read()?;
    println!("{results}");
    for (bug, expected) in PLANTED_BUGS {
        let rows = results
            .lines()
            .map(|row| row.split(',').collect::<Vec<_>>());
        let found = rows
            .filter(|row| row[0] == bug && !row[4].is_empty())
            .count();
        ensure!(
            found == expected,
            "{found} engines find {bug}, not {expected}"
        );
    }
    Ok(())
}

/// Checks that each planted bug still applies.
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
