//! The bytes of an untrusted server against the client's side.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_model::targets::replies(input));
