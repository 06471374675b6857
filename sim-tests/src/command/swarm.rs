//! Runs many seeds, on several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use strum::VariantArray;

use super::{keep_failure, print, shrink_failing};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::{Protocol, Report, check, run};

/// The number of failures after which a swarm ends.
const FAILURES_MAX: u64 = 10;

/// The number of seeds that must reach every coverage goal.
const ENOUGH: u64 = 20_000;

/// Runs `count` seeds from `start` on; returns whether all passed and reached the coverage goals.
pub(super) fn run_all<P: Protocol>(
    name: &str,
    start: u64,
    count: u64,
    jobs: usize,
) -> io::Result<bool> {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} left{msg}");
    let bar = ProgressBar::new(count).with_style(style.expect("the template is valid"));
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::<P::Goal>::default());
    let summary_now = || summary.lock().expect("no thread panicked");
    let is_cancelled = AtomicBool::new(false);
    let run_seeds = || -> io::Result<()> {
        while !is_cancelled.load(Ordering::Relaxed) && summary_now().failures < FAILURES_MAX {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let seed = start.wrapping_add(index);
            let scenario = Scenario::<P>::from_seed(seed);
            let trace = run(&scenario);
            let checked = catch_unwind(AssertUnwindSafe(|| check(&scenario, &trace)));
            let checked = checked.unwrap_or_else(|panic| {
                let _ = print(format_args!("seed {seed}: the check panicked\n"));
                resume_unwind(panic)
            });
            summary_now().add(&scenario, &trace, checked.as_ref().ok());
            if let Err(failure) = checked {
                bar.suspend(|| print(format_args!("seed {seed} failed: {failure}\n")))?;
                let scenario = shrink_failing(scenario);
                let replay = keep_failure(name, &format!("seed-{seed}"), &scenario)?;
                let text = format!("seed {seed}, shrunk; drawn beside the file: {replay}\n");
                bar.suspend(|| print(text))?;
            }
            bar.inc(1);
        }
        Ok(())
    };
    let work = || {
        let result = run_seeds();
        if result.is_err() {
            is_cancelled.store(true, Ordering::Relaxed);
        }
        result
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let mut workers = workers.into_iter();
        workers.try_for_each(|worker| worker.join().expect("no thread panicked"))
    })?;
    bar.finish_and_clear();
    let summary = summary.into_inner().expect("no thread panicked");
    print(summary.text(begin.elapsed()))?;
    Ok(summary.failures == 0 && (summary.missed() == 0 || summary.scenarios < ENOUGH))
}

/// The results of a swarm.
struct Summary<G> {
    scenarios: u64,
    failures: u64,
    simulated: Duration,
    /// The number of scenarios with each kind of fault.
    faults: BTreeMap<String, u64>,
    /// The number of scenarios that reached each goal.
    goals: BTreeMap<G, u64>,
    conversations: u64,
    /// The number of excused conversations, by excuse.
    excused: BTreeMap<&'static str, u64>,
}

impl<G: VariantArray + Ord> Default for Summary<G> {
    fn default() -> Summary<G> {
        Summary {
            scenarios: 0,
            failures: 0,
            simulated: Duration::ZERO,
            faults: BTreeMap::new(),
            goals: BTreeMap::new(),
            conversations: 0,
            excused: BTreeMap::new(),
        }
    }
}

impl<G: Copy + Ord + std::fmt::Debug + VariantArray> Summary<G> {
    fn add<P: Protocol<Goal = G>>(
        &mut self,
        scenario: &Scenario<P>,
        trace: &Trace,
        report: Option<&Report<G>>,
    ) {
        self.scenarios += 1;
        self.failures += u64::from(report.is_none());
        let end_ms = trace.events.last().map_or(0, |event| event.at_ms);
        self.simulated += Duration::from_millis(end_ms.into());
        let network = serde_json::to_value(scenario.network).expect("the network is plain data");
        let percentages = network.as_object().into_iter().flatten();
        let on = percentages
            .filter(|(name, value)| name.ends_with("_percent") && value.as_u64() != Some(0));
        let names = on.map(|(name, _)| name.as_str());
        let kinds: BTreeSet<_> = scenario
            .faults
            .iter()
            .map(|fault| fault.kind.name())
            .collect();
        for name in names.chain(kinds) {
            *self.faults.entry(name.into()).or_default() += 1;
        }
        if let Some(report) = report {
            for goal in &report.goals {
                *self.goals.entry(*goal).or_default() += 1;
            }
            self.conversations += report.conversations;
            for (excuse, count) in &report.excused {
                *self.excused.entry(excuse).or_default() += count;
            }
        }
    }

    fn count(&self, goal: &G) -> u64 {
        self.goals.get(goal).copied().unwrap_or(0)
    }

    /// The number of goals that no scenario reached.
    fn missed(&self) -> usize {
        G::VARIANTS
            .iter()
            .filter(|goal| self.count(goal) == 0)
            .count()
    }

    fn text(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let mut text = format!(
            "{} scenarios in {seconds:.1} s, {:.0} a second; {} s simulated, {:.0} times real time\n",
            self.scenarios,
            self.scenarios as f64 / seconds,
            self.simulated.as_secs(),
            self.simulated.as_secs_f64() / seconds,
        );
        let excused: u64 = self.excused.values().sum();
        text += &format!(
            "{} conversations, {:.1} % of them excused",
            self.conversations,
            100.0 * excused as f64 / self.conversations.max(1) as f64,
        );
        for (index, (excuse, count)) in self.excused.iter().enumerate() {
            text += if index == 0 { ": " } else { ", " };
            text += &format!("{count} {excuse}");
        }
        text += "\n\nfaults, with the number of scenarios that had them:\n";
        for (fault, count) in &self.faults {
            text += &format!("{count:>9} {fault}\n");
        }
        text += "\ncoverage goals, with the number of scenarios that reached them:\n";
        for goal in G::VARIANTS {
            text += &format!("{:>9} {goal:?}\n", self.count(goal));
        }
        let (failures, missed) = (self.failures, self.missed());
        text + &format!("\n{failures} failed, coverage goals not reached: {missed}\n")
    }
}
