//! The tasks of the repository, as cargo aliases (`.cargo/config.toml`).

mod book;
mod ci;
mod fuzz;
mod reach;
mod readme;
mod threats;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use xshell::{Shell, cmd};

/// The tasks of the repository
#[derive(Debug, Parser)]
#[command(bin_name = "cargo")]
enum Task {
    /// Build the documentation of all crates and open it at the specification
    Book,
    /// Run every check that a change must pass
    Ci {
        /// Run the checks that take longer instead
        #[arg(long)]
        scheduled: bool,
    },
    /// Fuzz each target, and the canary until it fails
    FuzzAll {
        /// Seconds for each target
        #[arg(default_value_t = 60)]
        seconds: u32,
    },
    /// Compare the lines of server and client that simulations do not run with sim-tests/unreached.toml
    Reach,
    /// Run the commands of the README
    Readme {
        /// Run only the commands that contain one of these texts
        filters: Vec<String>,
    },
    /// Install the tools that the other tasks and the commands of the README need
    Tools,
    /// Run the test of each threat and write the table server/tests/threats/README.md
    Threats,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    env::set_current_dir(root.expect("this folder has a parent"))?;
    let shell = Shell::new()?;
    match task {
        Task::Book => book::open(&shell),
        Task::Ci { scheduled: false } => ci::run(&shell),
        Task::Ci { scheduled: true } => ci::run_scheduled(&shell),
        Task::FuzzAll { seconds } => fuzz::run(&shell, seconds),
        Task::Reach => reach::run(&shell),
        Task::Readme { filters } => readme::run(&shell, &filters),
        Task::Tools => install_tools(&shell),
        Task::Threats => threats::run(&shell),
    }
}

/// Returns the folder of build output.
fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

fn install_tools(shell: &Shell) -> Result<()> {
    cmd!(shell, "rustup component add llvm-tools").run()?;
    cmd!(
        shell,
        "rustup toolchain install nightly --profile minimal --component miri --component rust-src"
    )
    .run()?;
    for subcommand in ["fuzz", "llvm-cov", "mutants", "nextest"] {
        install_tool(shell, subcommand)?;
    }
    Ok(())
}

/// Installs the package `cargo-SUBCOMMAND`, if there is no such subcommand of cargo.
fn install_tool(shell: &Shell, subcommand: &str) -> Result<()> {
    let version = cmd!(shell, "cargo {subcommand} --version").quiet();
    if version.ignore_stdout().ignore_stderr().run().is_err() {
        cmd!(shell, "cargo install --locked cargo-{subcommand}").run()?;
    }
    Ok(())
}
