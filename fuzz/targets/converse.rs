//! The server's conversation over a stream that reads and writes little, waits, and fails.
#![no_main]

use chime_server::model::{StreamScript, check_converse};

libfuzzer_sys::fuzz_target!(|script: StreamScript| check_converse(&script));
