//! Canaries: a wrong model and a wrong trace must fail the check, and each part of the check must be needed.

mod canaries;
mod excuses;
mod scenarios;
mod traces;

use chime_model::naive;
use chime_protocol::Service;
use chime_sim_tests::chime::{Checker, Excuse, Oracle, Part, Reason, Scenario};
use chime_sim_tests::scenario::shrink;
use chime_sim_tests::trace::Trace;
use chime_sim_tests::{check, run};
use chrono::{NaiveDateTime, TimeDelta};
use strum::VariantArray;

use canaries::Canary;
use excuses::EXCUSES;

/// The number of seeds that must catch a wrong model.
const SEEDS: u64 = 50;

fn fails(model: naive::Answer, scenario: &Scenario) -> bool {
    let checker = Checker {
        model,
        ..Checker::default()
    };
    checker.check(scenario, &run(scenario)).is_err()
}

/// Returns the first generated scenario that fails with a wrong model.
fn first_failing(model: naive::Answer) -> Scenario {
    let mut scenarios = (0..SEEDS).map(Scenario::from_seed);
    let failing = scenarios.find(|scenario| fails(model, scenario));
    failing.expect("the wrong model fails")
}

#[test]
fn a_wrong_sum_is_caught_and_shrunk_to_one_client() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        let (reply, closes) = naive::answer(service, command, now);
        let is_long = command.len() > 3 && command.iter().all(u8::is_ascii_digit);
        (
            reply.map(|reply| if is_long { "7".into() } else { reply }),
            closes,
        )
    }
    let scenario = shrink(first_failing(wrong), 20_000, |scenario| {
        fails(wrong, scenario)
    });
    assert_eq!(scenario.clients.len(), 1, "{scenario}");
    assert_eq!(scenario.faults, [], "{scenario}");
    assert_eq!(scenario.network, Default::default(), "{scenario}");
    let text = scenario.to_string();
    assert!(text.len() < 600, "{text}");
}

#[test]
fn a_clock_that_is_500_ms_slow_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        naive::answer(service, command, now - TimeDelta::milliseconds(500))
    }
    first_failing(wrong);
}

#[test]
fn a_quit_without_a_close_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        (naive::answer(service, command, now).0, false)
    }
    first_failing(wrong);
}

impl Canary {
    /// Returns the scenario and the trace, which do not match.
    fn scenario_and_trace(&self) -> (Scenario, Trace) {
        let mut scenario = (self.scenario)();
        let mut trace = run(&scenario);
        if let Err(failure) = check(&scenario, &trace) {
            panic!(
                "{}: the original trace fails: {failure}\n{trace}",
                self.name
            );
        }
        (self.change)(&mut scenario, &mut trace);
        (scenario, trace)
    }
}

/// Returns the check without one of its parts.
fn without(part: Part) -> Checker {
    Checker {
        without: Some(part),
        ..Checker::default()
    }
}

#[test]
fn each_canary_is_caught() {
    for canary in canaries::all() {
        let (scenario, trace) = canary.scenario_and_trace();
        match check(&scenario, &trace) {
            Ok(_) => panic!("not caught: {}\n{trace}", canary.name),
            Err(failure) => {
                let message = &failure.message;
                assert!(
                    message.contains(canary.message),
                    "{}: {failure}",
                    canary.name
                );
                assert!(failure.event < trace.events.len(), "{failure}");
            }
        }
    }
}

#[test]
fn without_an_oracle_a_canary_is_no_longer_caught() {
    let wrong: Vec<_> = canaries::all().map(Canary::scenario_and_trace).collect();
    let is_needed = |oracle: &&Oracle| {
        let checker = without(Part::Oracle(**oracle));
        let mut wrong = wrong.iter();
        wrong.any(|(scenario, trace)| checker.check(scenario, trace).is_ok())
    };
    let superfluous: Vec<_> = Oracle::VARIANTS
        .iter()
        .filter(|it| !is_needed(it))
        .collect();
    assert!(superfluous.is_empty(), "no canary needs {superfluous:?}");
}

#[test]
fn without_an_excuse_a_run_that_passes_fails() {
    let reasons = Reason::VARIANTS.iter().copied().map(Part::Reason);
    let excuses = Excuse::VARIANTS.iter().copied().map(Part::Excuse);
    for part in reasons.chain(excuses) {
        let scenario = EXCUSES.iter().find(|(excuse, _)| *excuse == part);
        let scenario = (scenario.expect("each excuse has a scenario").1)();
        let trace = run(&scenario);
        if let Err(failure) = check(&scenario, &trace) {
            panic!("{part:?}: {failure}\n{trace}");
        }
        let failed = without(part).check(&scenario, &trace);
        assert!(failed.is_err(), "{part:?} is not needed:\n{trace}");
    }
}

#[test]
fn each_counter_that_is_off_by_one_is_caught() {
    let scenario = scenarios::without_faults();
    let trace = run(&scenario);
    let names: Vec<_> = traces::counters(&mut trace.clone())
        .keys()
        .cloned()
        .collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let mut trace = trace.clone();
        traces::count(&mut trace, &name, 1);
        let failure = check(&scenario, &trace).expect_err("the counter is wrong");
        assert!(failure.message.contains("the server counts "), "{failure}");
    }
}
