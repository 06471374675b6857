//! The server's conversation over a stream with short reads and writes, pending polls and errors.
#![no_main]

use chime_server_model::{StreamScript, check_converse};

libfuzzer_sys::fuzz_target!(|script: StreamScript| check_converse(&script));
