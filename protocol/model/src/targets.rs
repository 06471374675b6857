//! The fuzz targets. The fuzzer calls them with generated inputs; `protocol/tests/seeds.rs` replays the seeds.
//!
//! Each takes a [`Script`] or raw bytes. In raw bytes of a stream, each `|` separates two reads.

use std::vec::Vec;

use super::{
    Script, Step, check_client_against_server, check_datagram, check_refused, check_replies,
    check_session,
};
use chime_protocol::{Framing, Service};

/// The name of a target, which is also that of its folder of seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// An output buffer that cuts most replies, at any byte. One of a single byte would take most of the time.
const SMALL_OUTPUT_SIZE: usize = 13;

/// Every target of this crate. The target `converse` is in `chime-server`.
pub const TARGETS: [Target; 5] = [
    ("session", session),
    ("operations", |input| operations(&Script::parse(input))),
    ("datagram", datagram),
    ("replies", replies),
    ("wired", |input| wired(&Script::parse(input))),
];

/// Checks a session with the bytes of a client. The first byte selects the service (`b`, `d` or `s`), and an
/// upper-case letter the framing `read`. Runs with a large output buffer and with one that is smaller
/// than most replies.
pub fn session(input: &[u8]) {
    let Some((server, bytes)) = input.split_first() else {
        return;
    };
    let service = match server.to_ascii_lowercase() {
        b'd' => Service::DateTime,
        b's' => Service::DigitSum,
        _ => Service::Both,
    };
    let framing = match server.is_ascii_uppercase() {
        true => Framing::Read,
        false => Framing::Line,
    };
    let reads = bytes
        .split(|byte| *byte == b'|')
        .filter(|read| !read.is_empty());
    for output_size in [Script::INITIAL_OUTPUT_SIZE, SMALL_OUTPUT_SIZE] {
        let steps = reads.clone().map(|read| Step::Read(read.to_vec()));
        let steps = [Step::Room(output_size)].into_iter().chain(steps).collect();
        check_session(&Script {
            service,
            framing,
            steps,
        });
    }
}

/// Checks a session, and a refused one, with a script: reads, output buffer sizes and times.
pub fn operations(script: &Script) {
    check_session(script);
    check_refused(script);
}

/// Checks the reply to a datagram.
pub fn datagram(input: &[u8]) {
    check_datagram(input, Script::clock_at_start());
}

/// Checks the client's side with the bytes of an untrusted server.
pub fn replies(input: &[u8]) {
    let pieces: Vec<&[u8]> = input.split(|byte| *byte == b'|').collect();
    let cuts: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    check_replies(&pieces.concat(), &cuts);
}

/// Checks a client against a server with a script.
pub fn wired(script: &Script) {
    check_client_against_server(script);
}
