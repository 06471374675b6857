//! A script: reads, output buffers, times.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_protocol::model::targets::operations(input));
