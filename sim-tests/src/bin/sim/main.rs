//! Runs, draws and shrinks simulations of chime.

mod swarm;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use chime_sim_tests::scenario::Scenario;
use chime_sim_tests::{Page, check, draw, run, shrink};
use clap::{Parser, Subcommand};

/// How many scenarios are tried to make one simpler.
const SHRINK_TRIES: usize = 20_000;

/// Runs, draws and shrinks simulations of chime.
///
/// A scenario is given by its number, from which it is drawn, or by a file, in which it stands as JSON. The
/// exit code is 1 if a simulation fails.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many scenarios, and makes those that fail simpler
    ///
    /// With 1,000 scenarios or more it also fails if there is a situation that none of them reached.
    Swarm {
        /// How many
        #[arg(long, value_name = "COUNT")]
        seeds: u64,
        /// The number of the first
        #[arg(long, default_value_t = 0)]
        start: u64,
        /// How many are run at a time [default: one a core]
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Runs one scenario and prints what happens
    Run {
        /// A number, or a file
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
    },
    /// Draws what happens in one scenario
    Draw {
        /// A number, or a file
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
        /// The page to write
        #[arg(short, long, value_name = "FILE.html")]
        output: PathBuf,
    },
    /// Makes a scenario that fails simpler, and prints it as JSON
    Shrink {
        /// A number, or a file
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads the output has seen enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether nothing failed.
fn execute(command: Command) -> io::Result<bool> {
    match command {
        Command::Swarm { seeds, start, jobs } => {
            let cores = available_parallelism().map_or(1, usize::from);
            swarm::run_all(start, seeds, jobs.unwrap_or(cores))
        }
        Command::Run { scenario } => {
            let scenario = read(&scenario)?;
            let trace = run(&scenario);
            let mut output = io::stdout().lock();
            write!(output, "{trace}")?;
            match check(&scenario, &trace) {
                Ok(coverage) => writeln!(output, "right; coverage {coverage:?}")?,
                Err(failure) => {
                    writeln!(output, "wrong: {failure}")?;
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Command::Draw { scenario, output } => {
            save_picture(&scenario, &read(&scenario)?, &output)?;
            Ok(true)
        }
        Command::Shrink { scenario } => {
            let scenario = read(&scenario)?;
            if !fails(&scenario) {
                return Err(io::Error::other("this scenario does not fail"));
            }
            let scenario = shrink(scenario, SHRINK_TRIES, fails);
            writeln!(io::stdout(), "{scenario}")?;
            Ok(false)
        }
    }
}

/// The scenario of this number, or in this file.
fn read(argument: &str) -> io::Result<Scenario> {
    if let Ok(number) = argument.parse::<u64>() {
        return Ok(Scenario::from_seed(number));
    }
    let in_file = |error: io::Error| io::Error::new(error.kind(), format!("{argument}: {error}"));
    let text = fs::read(argument).map_err(in_file)?;
    serde_json::from_slice(&text).map_err(|error| in_file(error.into()))
}

fn fails(scenario: &Scenario) -> bool {
    check(scenario, &run(scenario)).is_err()
}

fn save_picture(name: &str, scenario: &Scenario, path: &Path) -> io::Result<()> {
    let trace = run(scenario);
    let failure = check(scenario, &trace).err();
    let page = Page {
        name,
        replay: &format!("cargo sim run {name}"),
        scenario: &scenario.to_string(),
    };
    fs::write(path, draw(&page, scenario, &trace, failure.as_ref()))
}
