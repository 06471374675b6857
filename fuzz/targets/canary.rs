//! A canary: a check against a wrong model, which a working fuzzer catches.
#![no_main]

use chime_model::{Script, check_session_against, naive};
use chime_protocol::Service;
use chrono::NaiveDateTime;

fn rejects_leading_zeros(
    service: Service,
    command: &[u8],
    now: NaiveDateTime,
) -> (Option<String>, bool) {
    match command {
        [b'0', b'0', ..] => naive::answer(service, b"", now),
        command => naive::answer(service, command, now),
    }
}

libfuzzer_sys::fuzz_target!(|script: Script| {
    check_session_against(rejects_leading_zeros, &script);
});
