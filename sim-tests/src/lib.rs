//! Simulations of chime: the server's and the client's own code on a simulated network, with faults.
//!
//! A [`Scenario`](chime::Scenario) is plain data: a server, clients, a network, and faults. [`run`] is a pure function
//! of it that returns a [`Trace`](trace::Trace). [`check()`] judges the trace, [`draw`] draws it as a sequence diagram,
//! and [`shrink`](scenario::shrink) reduces a failing scenario.
//!
//! ```
//! use chime_sim_tests::chime::{Behaviour, CoverageGoal, Scenario, Target, Timeout};
//! use chime_sim_tests::scenario::{Client, Fault, FaultKind};
//! use chime_sim_tests::{check, run};
//!
//! let scenario = Scenario {
//!     clients: vec![Client {
//!         host: 0,
//!         start_ms: 10,
//!         behaviour: Behaviour::Ask {
//!             to: Target::default(),
//!             lines: vec!["day".into(), "12345".into()],
//!             pause_ms: 100,
//!             timeout_ms: Timeout::default(),
//!         },
//!     }],
//!     faults: vec![Fault { at_ms: 50, for_ms: 20, kind: FaultKind::Crash }],
//!     heal_ms: 500,
//!     ..Scenario::default()
//! };
//! let report = check(&scenario, &run(&scenario)).expect("the server keeps its contract");
//! assert!(report.goals.contains(&CoverageGoal::Killed));
//! ```
//!
//! A run has two phases. Until `heal_ms` faults strike: safety must hold. Then the network heals, and each host gets
//! one more client, which must be served soon over TCP and UDP: liveness. At the end the server shuts down, and must
//! have no connection left and all permits free.
//!
//! The server is the one that ships, with each of its settings: several workers that share listeners, UDP sockets and
//! limits, PROXY headers, address rules, limits and rates. Its workers take turns on one thread, so what needs threads
//! is tested elsewhere (`server/src/sync.rs`). Real sockets and their batches, signals, descriptors and the clock of the
//! system do not take part either.
//!
//! The network is [turmoil](https://docs.rs/turmoil)'s. Its streams deliver each write whole and at once, so the
//! sockets here cut, glue, delay and fail what passes through, and have a window; datagrams are lost, duplicated and
//! corrupted. The scenario sets the server's wall clock.
//!
//! The transcript of each client must be that of the naive model in [`chime_model`]; where it ends early, the
//! scenario must explain why. A second naive model replays the server's end of each connection, and says in which
//! millisecond it writes and closes, and why; others follow its limits and the waits of the client library. They are
//! [`Oracle`](chime::Oracle)s. A test switches off each of them, and each [`Excuse`](chime::Excuse) and
//! [`Reason`](chime::Reason), and demands that a canary notices. Many runs together must reach every
//! [`CoverageGoal`](chime::CoverageGoal).
//!
//! The simulator is independent of chime: [`protocol`] shows how to simulate another protocol.
//!
//! One generator makes scenarios from bytes: a seed expands to bytes ([`Scenario::from_seed`](scenario::Scenario)), a
//! fuzzer supplies them (`cargo fuzz run --sanitizer none --no-trace-compares scenario`), and so does a property test
//! ([`Scenarios`](scenario::Scenarios)). The command `sim` runs a swarm of seeds, keeps failures, and replays them.
//!
//! # Seeds or a fuzzer?
//!
//! Both search the same scenarios. Does coverage guidance find bugs sooner? For eight planted bugs it does not: the
//! fuzzer needs 3 to 36 times the CPU time of plain seeds and 1.2 to 12 times the runs, where the figures suffice for a
//! mean (not for the last bug). CPU seconds to detection, median (minimum to maximum), and the median number of runs:
//!
//! | planted bug | plain seeds | fuzzer | repeats |
//! | --- | --- | --- | --- |
//! | drain-answers-partial-line | 0.3 (0.1 to 1.3), 22 runs | 1.3 (0.1 to 11.4), 39 runs | 10, 10 |
//! | client-pipe-resends-after-short-write | 0.4 (0.1 to 2.3), 33 | 10.7 (0.5 to > 60), 265 | 10, 6 |
//! | closed-with-bytes-unread | 0.7 (0.0 to 3.0), 58 | 4.5 (0.7 to 40), 126 | 10, 10 |
//! | linger-restarted-by-each-byte | 0.9 (0.0 to 4.1), 67 | 4.3 (0.6 to 36), 101 | 10, 10 |
//! | client-pipe-deadlocks-under-backpressure | 1.1 (0.2 to 4.8), 92 | 1.7 (0.2 to 17.2), 59 | 10, 10 |
//! | line-deadline-restarted-by-each-read | 3.6 (1.3 to 10.9), 316 | > 60 (47 to > 60) | 10, 3 |
//! | unsent-replies-dropped-at-shutdown | 3.8 (0.1 to 11.5), 328 | > 43 (0.2 to > 60) | 10, 4 |
//! | drain-timeout-zero | 31 (3.5 to > 60), 2,030 | 5.2 and > 60 | 10, 2 |
//!
//! Each repeat has a random first seed, or a random fuzzer seed and a corpus of 50 random files of 512 bytes
//! (`-max_len=16384 -len_control=0`), and ends after 60 s. A scenario uses a median of 451 bytes: with files of 16,384
//! bytes most mutations change nothing, and the fuzzer finds the third bug in none of two minutes. On one loaded core,
//! plain seeds make 64 to 78 runs a CPU second, the fuzzer 18 to 39. Runs of hours and grown corpora were not measured.
//! Measured when a scenario had one worker and one listener; the generator has changed since.
//!
//! # How the tests fit together
//!
//! Every engine generates input, and calls a check that compares the code under test with one naive model:
//! [`naive`](chime_model::naive). The checks are library functions, so that the engines cannot drift apart.
//! Each engine has a canary: a wrong model, or a wrong trace, that it must catch.
//!
//! | engine | input | check | where |
//! | --- | --- | --- | --- |
//! | transcripts | one for each rule of the specification | the bytes themselves | `protocol/tests/transcripts` |
//! | proof | every state and every byte, so input of any length | the naive model | `protocol/tests/proof` |
//! | properties | a [`Script`] or bytes, from [`strategies`] | the `check_` functions of [`model`] | `tests/properties` of protocol, `tests/in_memory` of the server |
//! | fuzzing | bytes, parsed as a [`Script`] or a [`Scenario`](scenario::Scenario) | the same, in [`targets`] | `fuzz/targets` |
//! | seeds | inputs found by people and fuzzers, on stable Rust | the same | `protocol/tests/seeds.rs` |
//! | simulation | a [`Scenario`](scenario::Scenario) | [`check()`] | here |
//! | interleavings | threads, in each order of their steps | limits and counts | `server/src/sync.rs` |
//! | examples | real processes on loopback, and streams in memory | expected results | `tests` of server and client |
//! | threats | hostile clients, servers and networks | figures and limits | `server/tests/threats` |
//! | planted bugs | a bug in a copy of the tree | all of these engines | `fuzz/planted-bugs` |
//!
//! A failure of a property is a script, kept as a seed. A failure of a simulation is a scenario, kept in
//! `sim-tests/tests/regressions`. Timing never decides a test: time is virtual in memory and here; elsewhere a test
//! waits for a condition.
//!
//! [`model`]: chime_model
//! [`strategies`]: chime_model::strategies
//! [`targets`]: chime_model::targets
//! [`Script`]: chime_model::Script

mod check;
pub mod chime;
pub mod command;
pub mod exec;
pub mod protocol;
mod render;
pub mod scenario;
pub mod trace;

pub use check::{check, check_with};
pub use chime::Chime;
pub use exec::run;
pub use protocol::{Data, Failure, Protocol, Report};
pub use render::{Page, draw};
