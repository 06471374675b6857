//! One datagram.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_model::targets::datagram(input));
