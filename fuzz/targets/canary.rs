//! A check against a wrong model: a fuzzer that finds nothing here is worth nothing.
#![no_main]

use chime_protocol::Service;
use chime_protocol::model::{Script, check_session_against, naive};
use chrono::NaiveDateTime;

fn minds_leading_zeros(
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
    check_session_against(minds_leading_zeros, &script);
});
