//! A script: reads, output buffers, times.
#![no_main]

use chime_protocol::model::Script;
use chime_protocol::model::targets::operations;

libfuzzer_sys::fuzz_target!(|script: Script| operations(&script));
