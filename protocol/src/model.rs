//! The checks of this crate, and the naive model that they compare the machine with.
//!
//! One body of checks serves every engine: property tests, fuzzers, the replay of seeds, simulations. An
//! engine makes up a [`Script`], or bytes, and calls a `check_` function, which panics where the machine
//! is wrong, with the script, what was expected and what came.
//!
//! Each check has a form ending in `_against` that takes the model as an argument, so that a test can
//! show that a wrong model is caught. A check that nothing can fail is worth nothing.
//!
//! ```
//! use chime_protocol::model::{Script, check_session};
//!
//! let script = Script::parse(br"
//! ## Half a command, then its end, through buffers of 7 bytes, one second to midnight.
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
pub use script::{ROOM_MAX, Script, Step};
pub use servers::{
    check_datagram, check_datagram_against, check_interleaved, check_interleaved_against,
    check_refused, check_refused_against, check_session, check_session_against,
};
