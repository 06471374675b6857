//! The command line that runs, draws and shrinks the scenarios of a protocol.

mod swarm;

use std::fs;
use std::io::{self, Write};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use std::{env, fmt};

use clap::{Parser, Subcommand, value_parser};

use crate::scenario::{Scenario, shrink};
use crate::{Failure, Page, Protocol, check, draw, run};

/// The maximum number of runs to shrink a scenario.
const SHRINK_RUNS_MAX: usize = 20_000;

/// The maximum time to shrink a scenario. A run that is stuck takes seconds.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs, draws and shrinks simulations
///
/// SEED is a number, from which a scenario is generated. FILE is a scenario as JSON. The exit code is 1 if a run fails
/// its check (`draw` excepted), and 2 if the command itself fails.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds, and shrinks and draws those that fail
    ///
    /// It ends after ten failures, each shrunk for at most a minute. The shrunk scenario may fail for another reason than the
    /// seed: run the seed to see the first one. With 20,000 seeds or more a swarm also fails if no seed reached one of the
    /// coverage goals.
    Swarm {
        /// The number of seeds
        #[arg(long, value_name = "COUNT")]
        seeds: u64,
        /// The first seed
        #[arg(long, value_name = "SEED", default_value_t = 0)]
        start: u64,
        /// The number of threads [default: one per core]
        #[arg(long, value_name = "COUNT", value_parser = value_parser!(u16).range(1..=256))]
        jobs: Option<u16>,
    },
    /// Runs one scenario and prints its trace
    Run {
        /// The scenario
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
    },
    /// Runs one scenario and draws it as a page of HTML
    Draw {
        /// The scenario
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
        /// The page to write
        #[arg(short, long, value_name = "FILE.html")]
        output: PathBuf,
    },
    /// Shrinks a failing scenario, without what it expects, and prints it as JSON
    Shrink {
        /// The scenario
        #[arg(value_name = "SEED|FILE")]
        scenario: String,
    },
}

/// Runs the command line of a protocol. `name` is how users call it, in the commands that it prints.
pub fn main<P: Protocol>(name: &str) -> ExitCode {
    match execute::<P>(name, Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader of the output has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, too.
            let _ = writeln!(io::stderr(), "sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all runs passed.
fn execute<P: Protocol>(name: &str, command: Command) -> io::Result<bool> {
    match command {
        Command::Swarm { seeds, start, jobs } => {
            let cores = available_parallelism().map_or(1, usize::from);
            swarm::run_all::<P>(name, start, seeds, jobs.map_or(cores, usize::from))
        }
        Command::Run { scenario } => {
            let scenario = read::<P>(&scenario)?;
            let trace = run(&scenario);
            print(&trace)?;
            let checked = check(&scenario, &trace);
            match &checked {
                Ok(report) => {
                    let goals = report.goals.iter().map(|goal| format!("{goal:?}"));
                    let goals: Vec<_> = goals.collect();
                    print(format_args!(
                        "passed; coverage goals reached: {}\n",
                        goals.join(", ")
                    ))?
                }
                Err(failure) => print(format_args!("failed: {failure}\n"))?,
            }
            Ok(checked.is_ok())
        }
        Command::Draw { scenario, output } => {
            save_picture(name, &scenario, &read::<P>(&scenario)?, &output)?;
            Ok(true)
        }
        Command::Shrink { scenario } => {
            let mut scenario = read::<P>(&scenario)?;
            // A scenario that is cut down does not show what was expected of the whole.
            scenario.expect.clear();
            if find_failure(&scenario).is_none() {
                return Err(io::Error::other("this scenario passes its check"));
            }
            print(format_args!("{}\n", shrink_failing(scenario)))?;
            Ok(false)
        }
    }
}

/// Returns the scenario of a seed, or in a file.
fn read<P: Protocol>(argument: &str) -> io::Result<Scenario<P>> {
    if let Ok(seed) = argument.parse::<u64>() {
        return Ok(Scenario::from_seed(seed));
    }
    let text = fs::read(argument).map_err(|error| explain("cannot read", argument, error))?;
    Scenario::from_json(&text).map_err(|error| io::Error::other(format!("{argument}: {error}")))
}

fn find_failure<P: Protocol>(scenario: &Scenario<P>) -> Option<Failure> {
    check(scenario, &run(scenario)).err()
}

fn shrink_failing<P: Protocol>(scenario: Scenario<P>) -> Scenario<P> {
    let begin = Instant::now();
    shrink(scenario, SHRINK_RUNS_MAX, |scenario| {
        begin.elapsed() < SHRINK_TIME_MAX && find_failure(scenario).is_some()
    })
}

/// Writes a failing scenario and its diagram to the folder `sim` in the target folder, as `title.json` and `title.html`.
///
/// Returns the command that replays it, from any folder.
pub fn keep_failure<P: Protocol>(
    name: &str,
    title: &str,
    scenario: &Scenario<P>,
) -> io::Result<String> {
    let folder = path::absolute(target_folder()?)?.join("sim");
    fs::create_dir_all(&folder)
        .map_err(|error| explain("cannot create", folder.display(), error))?;
    let path = folder.join(title).with_extension("json");
    write_file(&path, &scenario.to_string())?;
    let shown = path.display().to_string();
    save_picture(name, &shown, scenario, &path.with_extension("html"))?;
    Ok(format!("{name} run {shown}"))
}

/// Returns the target folder of this executable, so that tests and the command `sim` use the same one.
fn target_folder() -> io::Result<PathBuf> {
    if let Some(folder) = env::var_os("CARGO_TARGET_DIR") {
        return Ok(folder.into());
    }
    let executable = env::current_exe()?;
    let mut folders = executable.ancestors();
    let target = folders.find(|folder| folder.ends_with("target"));
    Ok(target.unwrap_or("target".as_ref()).into())
}

/// Runs and draws a scenario, which `argument` gives to the command.
fn save_picture<P: Protocol>(
    name: &str,
    argument: &str,
    scenario: &Scenario<P>,
    path: &Path,
) -> io::Result<()> {
    let trace = run(scenario);
    let failure = check(scenario, &trace).err();
    let page = Page {
        name: &match argument.parse::<u64>() {
            Ok(seed) => format!("seed {seed}"),
            Err(_) => argument.into(),
        },
        replay: &format!("{name} run {argument}"),
    };
    let page = draw(&page, scenario, &trace, failure.as_ref());
    write_file(path, &page)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| explain("cannot write", path.display(), error))
}

fn print(text: impl fmt::Display) -> io::Result<()> {
    write!(io::stdout(), "{text}").map_err(|error| explain("cannot write to", "stdout", error))
}

/// Adds to an error what failed, and on what.
fn explain(failed: &str, subject: impl fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{failed} {subject}: {error}"))
}
