//! Differential checks of [`chime_protocol`] against a naive model, the test oracle.
//!
//! Property tests, fuzzers, the replay of seeds and simulations share these checks. An engine generates a
//! [`Script`] or bytes and calls a `check_` function. The function panics if the state machine and the model
//! differ, with the script, the expected bytes and the actual bytes.
//!
//! Each check has a variant that takes the model as an argument (`_against` or `_with`), so that canary tests
//! can show that it catches a wrong model.
//!
//! ```
//! use chime_model::{Script, check_session};
//!
//! let script = Script::parse(br"
//! ## A command in two reads, through buffers of 7 bytes, one second before midnight.
//! clock 2026-11-21 23:59:59
//! room 7
//! > da
//! > y\r\n
//! clock 2026-11-22 00:00:00
//! > day
//! ");
//! assert_eq!(check_session(&script), b"Welcome to the server\nSaturday\nSunday\n");
//! ```

pub mod naive;
pub mod strategies;
pub mod targets;

mod clients;
mod script;
mod servers;
mod session_under_test;

pub use clients::{
    check_client_against_server, check_client_against_server_with, check_replies,
    check_replies_against,
};
pub use script::{OUTPUT_SIZE_MAX, Script, Step};
pub use servers::{
    check_datagram, check_datagram_against, check_interleaved, check_interleaved_against,
    check_refused, check_refused_against, check_session, check_session_against,
};
