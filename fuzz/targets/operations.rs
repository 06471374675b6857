//! A session driven by a script: reads, output buffer sizes, times.
#![no_main]

use chime_model::Script;
use chime_model::targets::operations;

libfuzzer_sys::fuzz_target!(|script: Script| operations(&script));
