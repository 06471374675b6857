//! Shrinks a failing scenario until each part of it is needed.
//!
//! The shrinker works on the JSON of a scenario and knows none of its fields, so that it shrinks new ones too.
//! Median of 35 failures by 8 planted bugs, with the typed shrinker it replaced in brackets: 310 bytes of JSON (325)
//! after 55 runs (315).

use std::collections::HashSet;
use std::iter::successors;
use std::marker::PhantomData;

use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rand::Rng;
use serde_json::{Map, Number, Value};

use super::Scenario;
use crate::Protocol;

/// The strategy of property tests: any scenario, generated as in a swarm.
#[derive(Clone, Copy, Debug)]
pub struct Scenarios<P>(PhantomData<P>);

impl<P> Default for Scenarios<P> {
    fn default() -> Scenarios<P> {
        Scenarios(PhantomData)
    }
}

impl<P: Protocol> Strategy for Scenarios<P> {
    type Tree = Shrinking<P>;
    type Value = Scenario<P>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Scenarios<P>> {
        Ok(Shrinking::new(Scenario::from_seed(runner.rng().next_u64())))
    }
}

/// A scenario that is being shrunk.
#[derive(Debug)]
pub struct Shrinking<P: Protocol> {
    /// The simplest scenario that is known to fail.
    failing: Scenario<P>,
    current: Scenario<P>,
    /// Simpler values than `failing`. Some of them are not scenarios.
    candidates: Vec<Value>,
    /// The index of the next candidate. It wraps around.
    next: usize,
    /// How many candidates are left.
    left: usize,
    /// The JSON of the scenarios that were tried.
    tried: HashSet<String>,
}

impl<P: Protocol> Shrinking<P> {
    fn new(scenario: Scenario<P>) -> Shrinking<P> {
        Shrinking {
            failing: scenario.clone(),
            current: scenario,
            candidates: Vec::new(),
            next: 0,
            left: 0,
            tried: HashSet::new(),
        }
    }

    fn try_next(&mut self) -> bool {
        while self.left > 0 {
            let candidate = &self.candidates[self.next % self.candidates.len()];
            self.next += 1;
            self.left -= 1;
            if let Ok(scenario) = Scenario::from_json(candidate.to_string().as_bytes())
                && scenario != self.failing
                && self.tried.insert(scenario.to_string())
            {
                self.current = scenario;
                return true;
            }
        }
        self.current = self.failing.clone();
        false
    }
}

impl<P: Protocol> ValueTree for Shrinking<P> {
    type Value = Scenario<P>;

    fn current(&self) -> Scenario<P> {
        self.current.clone()
    }

    fn simplify(&mut self) -> bool {
        let json = |scenario: &Scenario<P>| {
            serde_json::from_str::<Value>(&scenario.to_string()).expect("it is JSON")
        };
        let length = |value: &Value| value.to_string().len();
        let before = length(&json(&self.failing));
        self.failing = self.current.clone();
        let value = json(&self.failing);
        let default =
            serde_json::to_value(Scenario::<P>::default()).expect("a scenario is plain data");
        self.candidates = shrink_candidates(&value, &default);
        self.candidates.sort_by_cached_key(length);
        // Bigger cuts than the last have just failed, and would likely fail again.
        let as_short = (2 * length(&value)).saturating_sub(before);
        let as_big = |candidate: &Value| length(candidate) <= as_short;
        self.next = self.next.min(self.candidates.partition_point(as_big));
        self.left = self.candidates.len();
        self.try_next()
    }

    fn complicate(&mut self) -> bool {
        self.try_next()
    }
}

/// Returns the simplest scenario found that still `fails`, for whatever reason, after at most `tries_max` tries.
pub fn shrink<P: Protocol>(
    scenario: Scenario<P>,
    tries_max: usize,
    fails: impl Fn(&Scenario<P>) -> bool,
) -> Scenario<P> {
    let mut tree = Shrinking::new(scenario);
    let mut is_left = tree.simplify();
    for _ in 0..tries_max {
        if !is_left {
            break;
        }
        is_left = match fails(&tree.current) {
            true => tree.simplify(),
            false => tree.complicate(),
        };
    }
    tree.failing
}

/// Returns values with one cut: a key or elements left out, a string shortened, or a number closer to its default.
pub fn shrink_candidates(value: &Value, default: &Value) -> Vec<Value> {
    match value {
        Value::Object(fields) => {
            let without = |name: &String| {
                let others = fields.iter().filter(|(other, _)| *other != name);
                Value::from_iter(others.map(|(name, field)| (name.clone(), field.clone())))
            };
            let with = |name: &String, field| {
                let mut fields: Map<_, _> = fields.clone();
                fields[name] = field;
                Value::Object(fields)
            };
            let children = fields.iter().flat_map(|(name, field)| {
                let candidates = shrink_candidates(field, &default[name]).into_iter();
                candidates.map(move |field| with(name, field))
            });
            fields.keys().map(without).chain(children).collect()
        }
        Value::Array(items) => {
            let mut found = Vec::new();
            for length in cuts(items.len() as u128) {
                for start in (0..items.len()).step_by(length as usize) {
                    let mut rest = items.clone();
                    rest.drain(start..items.len().min(start + length as usize));
                    found.push(rest.into());
                }
            }
            for (index, item) in items.iter().enumerate() {
                for item in shrink_candidates(item, &Value::Null) {
                    let mut changed = items.clone();
                    changed[index] = item;
                    found.push(changed.into());
                }
            }
            found
        }
        Value::String(text) => {
            let chars: Vec<char> = text.chars().collect();
            cuts(chars.len() as u128)
                .map(|length| length as usize)
                .flat_map(|length| [&chars[length..], &chars[..chars.len() - length]])
                .map(|chars| Value::String(chars.iter().collect()))
                .collect()
        }
        Value::Number(number) => {
            let target = default.as_number().and_then(Number::as_i128).unwrap_or(0);
            let number = number.as_i128().unwrap_or(target);
            let distance = number - target;
            // A number below its default is left or dropped: between the two, nothing is simpler.
            cuts((number.abs() > target.abs()) as u128 * distance.unsigned_abs())
                .map(|length| number - length as i128 * distance.signum())
                .filter_map(|number| Number::from_i128(number).map(Value::Number))
                .collect()
        }
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}

/// All of a length, then half of it, and so on down to 1.
fn cuts(length: u128) -> impl Iterator<Item = u128> {
    successors(Some(length), |length| Some(length / 2)).take_while(|length| *length > 0)
}
