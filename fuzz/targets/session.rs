//! A client's bytes, and how they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_protocol::model::targets::session(input));
