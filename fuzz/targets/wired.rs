//! A client against a server.
#![no_main]

use chime_protocol::model::Script;
use chime_protocol::model::targets::wired;

libfuzzer_sys::fuzz_target!(|script: Script| wired(&script));
