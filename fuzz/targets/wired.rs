//! A client against a server.
#![no_main]

use chime_model::Script;
use chime_model::targets::wired;

libfuzzer_sys::fuzz_target!(|script: Script| wired(&script));
