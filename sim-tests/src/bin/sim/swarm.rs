//! Many scenarios, on several threads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chime_sim_tests::scenario::Scenario;
use chime_sim_tests::{CoverageGoal, check, run, shrink};
use indicatif::{ProgressBar, ProgressStyle};
use strum::VariantArray;

use crate::{SHRINK_TRIES, fails, save_picture};

/// Where failures are kept.
const FOLDER: &str = "target/sim";

/// Failures after which no more scenarios are begun.
const FAILURES_MAX: u64 = 10;

/// Scenarios that have to reach every situation.
const ENOUGH: u64 = 1_000;

/// What a campaign has seen.
#[derive(Default)]
struct Summary {
    scenarios: u64,
    failures: u64,
    simulated: Duration,
    faults: BTreeMap<&'static str, u64>,
    coverage: BTreeMap<CoverageGoal, u64>,
}

/// Runs so many scenarios from the number `start` on; returns whether nothing failed.
pub(crate) fn run_all(start: u64, count: u64, jobs: usize) -> io::Result<bool> {
    let bar = ProgressBar::new(count);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} left{msg}")
            .expect("a template"),
    );
    let begin = Instant::now();
    let next = AtomicU64::new(start);
    let summary = Mutex::new(Summary::default());
    let work = || -> io::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let failures = summary.lock().expect("no thread panicked").failures;
            if number - start >= count || failures >= FAILURES_MAX {
                return Ok(());
            }
            let scenario = Scenario::from_seed(number);
            let trace = run(&scenario);
            let checked = check(&scenario, &trace);
            {
                let mut summary = summary.lock().expect("no thread panicked");
                let end_ms = trace.events.last().map_or(0, |event| event.at_ms);
                summary.add(&scenario, Duration::from_millis(end_ms.into()));
                match &checked {
                    Ok(coverage) => coverage.iter().for_each(|goal| {
                        *summary.coverage.entry(*goal).or_default() += 1;
                    }),
                    Err(_) => summary.failures += 1,
                }
            }
            if let Err(failure) = checked {
                bar.suspend(|| println!("seed {number}: {failure}"));
                let kept = keep(number, scenario)?;
                bar.suspend(|| println!("seed {number}: {kept}"));
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no thread panicked"))
    })?;
    bar.finish_and_clear();
    let summary = summary.into_inner().expect("no thread panicked");
    Ok(summary.print(begin.elapsed()))
}

/// Makes a scenario that fails simpler, writes it and its picture, and says how to run it again.
fn keep(number: u64, scenario: Scenario) -> io::Result<String> {
    let scenario = shrink(scenario, SHRINK_TRIES, fails);
    fs::create_dir_all(FOLDER)?;
    let path = Path::new(FOLDER).join(format!("seed-{number}.json"));
    fs::write(&path, scenario.to_string())?;
    let picture = path.with_extension("html");
    let path = path.display();
    save_picture(&path.to_string(), &scenario, &picture)?;
    Ok(format!(
        "made simpler, drawn beside it: cargo run -p chime-sim-tests -- run {path}"
    ))
}

impl Summary {
    fn add(&mut self, scenario: &Scenario, simulated: Duration) {
        self.scenarios += 1;
        self.simulated += simulated;
        let network = scenario.network;
        let percentages = [
            ("cut", network.cut_percent),
            ("glue", network.glue_percent),
            ("pending", network.pending_percent),
            ("stream error", network.stream_error_percent),
            ("accept error", network.accept_error_percent),
            ("loss", network.loss_percent),
            ("duplication", network.duplication_percent),
            ("corruption", network.corruption_percent),
            ("datagram error", network.datagram_error_percent),
        ];
        let names = percentages
            .iter()
            .filter(|(_, percent)| *percent > 0)
            .map(|(name, _)| *name);
        for name in names.chain(scenario.faults.iter().map(|fault| fault.kind.name())) {
            *self.faults.entry(name).or_default() += 1;
        }
    }

    /// Prints it; returns whether it is as it should be.
    fn print(&self, elapsed: Duration) -> bool {
        let seconds = elapsed.as_secs_f64();
        println!(
            "{} scenarios in {seconds:.1} s, {:.0} a second; {} s simulated, {:.0} times as fast as life",
            self.scenarios,
            self.scenarios as f64 / seconds,
            self.simulated.as_secs(),
            self.simulated.as_secs_f64() / seconds,
        );
        println!("\nfaults, and in how many scenarios they were on or how often they struck:");
        for (fault, count) in &self.faults {
            println!("{count:>9} {fault}");
        }
        println!("\ncoverage goals, and how many scenarios reached each:");
        let mut missed = 0;
        for goal in CoverageGoal::VARIANTS {
            let count = self.coverage.get(goal).copied().unwrap_or(0);
            println!("{count:>9} {goal:?}");
            missed += usize::from(count == 0);
        }
        println!(
            "\n{} failed, {missed} coverage goals not reached",
            self.failures
        );
        self.failures == 0 && (missed == 0 || self.scenarios < ENOUGH)
    }
}
