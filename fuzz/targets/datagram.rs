//! One datagram.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chime_protocol::model::targets::datagram(input));
