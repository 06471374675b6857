//! What a fuzzer calls with its inputs, and the replay of seeds with theirs.
//!
//! Each takes a script, or any bytes. Where bytes of a network are wanted as they are, each `|` is a cut.

use std::vec::Vec;

use super::{
    Script, Step, check_client_against_server, check_datagram, check_refused, check_replies,
    check_session,
};
use crate::{Framing, Service};

/// A target, after the name of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("session", session),
    ("operations", |input| operations(&Script::parse(input))),
    ("datagram", datagram),
    ("replies", replies),
    ("wired", |input| wired(&Script::parse(input))),
];

/// The bytes of a client. The first chooses the server: `b`, `d` or `s` the service, a capital letter
/// the framing `read`. The output is now large, now a single byte.
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
    for room in [Script::ROOM_AT_START, 1] {
        let steps = reads.clone().map(|read| Step::Read(read.to_vec()));
        let steps = [Step::Room(room)].into_iter().chain(steps).collect();
        check_session(&Script {
            service,
            framing,
            steps,
        });
    }
}

/// A script: reads, output buffers and times of any kind.
pub fn operations(script: &Script) {
    check_session(script);
    check_refused(script);
}

/// A datagram.
pub fn datagram(input: &[u8]) {
    check_datagram(input, Script::clock_at_start());
}

/// The bytes of a server, which may be anyone.
pub fn replies(input: &[u8]) {
    let pieces: Vec<&[u8]> = input.split(|byte| *byte == b'|').collect();
    let cuts: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    check_replies(&pieces.concat(), &cuts);
}

/// A script of a client that talks to a server.
pub fn wired(script: &Script) {
    check_client_against_server(script);
}
