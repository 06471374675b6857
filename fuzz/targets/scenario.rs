//! A simulated run: server and clients on a network with faults, against the oracles of the simulation.
#![no_main]

use chime_sim_tests::chime::Scenario;
use chime_sim_tests::{check, run};

libfuzzer_sys::fuzz_target!(|scenario: Scenario| {
    if let Err(failure) = check(&scenario, &run(&scenario)) {
        panic!("{failure}\nreplay this scenario with `cargo sim run FILE`:\n{scenario}");
    }
});
