//! Simulations of chime: the server's and the client's own code over a network that fails in every way.
//!
//! A simulation is a value, a [`Scenario`](scenario::Scenario): a server, clients good and bad, a network,
//! and the faults that strike and when. [`run`] is a pure function of it that returns a
//! [`Trace`](trace::Trace), of which [`check()`] says what is wrong; [`draw`] makes a picture of it, and
//! [`shrink()`] a simpler scenario that fails as well.
//!
//! ```
//! use chime_sim_tests::scenario::{Behaviour, Client, Fault, FaultKind, Scenario};
//! use chime_sim_tests::{CoverageGoal, check, run};
//!
//! let scenario = Scenario {
//!     clients: vec![Client {
//!         host: 0,
//!         start_ms: 10,
//!         behaviour: Behaviour::Ask { lines: vec!["day".into(), "12345".into()], pause_ms: 100 },
//!     }],
//!     faults: vec![Fault { at_ms: 50, for_ms: 20, kind: FaultKind::Crash }],
//!     heal_ms: 500,
//!     ..Scenario::default()
//! };
//! let trace = run(&scenario);
//! let reached = check(&scenario, &trace).expect("the server does what it has to");
//! assert!(reached.contains(&CoverageGoal::Killed));
//! ```
//!
//! A run has two phases. Until `heal_ms` the faults strike: safety must hold. Then all heals, and each host
//! has one more client, which must be served soon, over a connection and by a datagram; at the end the
//! server is told to stop and must have no connection left, and all its room free.
//!
//! What goes over the network is [turmoil](https://docs.rs/turmoil)'s. Its streams deliver each write whole and at once, so
//! the sockets here cut, join, delay and fail what passes through them, and hold no more bytes than a window has
//! room for; datagrams get lost, doubled and changed. A clock that a scenario sets is the server's.
//!
//! The transcript of each client has to be that of the naive model in [`chime_protocol::model`], and where
//! it ends early the scenario must explain why. The server has to keep its limits, every datagram has
//! to be accounted for, and many runs together have to reach every [`CoverageGoal`].
//!
//! `Scenario::from_seed(number)` draws one by the swarm: each kind of fault is on with probability one half. The
//! strategy [`Scenarios`] draws them for property tests. The command `sim` runs swarms of them,
//! keeps what fails, and replays it.

//!
//! # How the tests fit together
//!
//! Every engine makes something up, and calls a check that compares what happens with one model, which is so
//! naive that it is obviously right: [`naive`](chime_protocol::model::naive). The checks are library functions,
//! so that no two engines have bodies that drift apart, and each engine has a canary: a wrong model, or a wrong
//! trace, that it has to catch.
//!
//! | engine | makes up | checks with | stands in |
//! | --- | --- | --- | --- |
//! | transcripts | nothing: one by hand for each rule | the bytes themselves | `protocol/tests/transcripts` |
//! | exhaustion | all that is small enough | [`check_session`] | `protocol/tests/exhaustive.rs` |
//! | properties | a [`Script`] or bytes, by its [`strategies`] | the `check_` functions of [`model`] | `tests/properties` of protocol, `tests/in_memory` of the server |
//! | fuzzing | bytes, read as a [`Script`] | the same, named by [`targets`] | `fuzz/targets` |
//! | seeds | what people and fuzzers found, on stable Rust | the same | `protocol/tests/seeds.rs` |
//! | simulation | a [`Scenario`](scenario::Scenario) | [`check()`] | here |
//! | examples | real processes on loopback, and streams in memory | what is expected, by hand | `tests` of server and client |
//! | threats | what hostile clients, servers and networks do | figures and limits | `server/tests/threats` |
//! | planted bugs | a bug in a copy of the tree | all of these engines | `fuzz/planted-bugs` |
//!
//! What a property finds is a script that can be kept as a seed; what a simulation finds is a scenario, kept in
//! `sim-tests/tests/regressions`. Time never decides a test: in memory and here it is virtual, elsewhere a test
//! waits for a condition.
//!
//! [`model`]: chime_protocol::model
//! [`strategies`]: chime_protocol::model::strategies
//! [`targets`]: chime_protocol::model::targets
//! [`check_session`]: chime_protocol::model::check_session
//! [`Script`]: chime_protocol::model::Script

mod check;
mod clients;
mod coverage;
mod network;
mod render;
mod run;
pub mod scenario;
mod shrink;
mod swarm;
pub mod trace;
mod world;

pub use check::{Failure, check, check_against};
pub use coverage::CoverageGoal;
pub use render::{Page, draw};
pub use run::run;
pub use shrink::{Scenarios, Shrinking, shrink};
