//! A session with the bytes of a client, split into reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_model::targets::session(input));
