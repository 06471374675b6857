//! Lemma 4: many bytes in one call do what the same bytes do one at a time.
//!
//! *Argued:* one call is a loop that takes a run of bytes and then a single one, in `RequestDecoder::next`. A run
//! begins in one of the states and takes bytes of one kind: letters of a name, digits, or anything of an invalid
//! line. The only other path compares the first 16 bytes with a name and LF, byte for byte. So it is
//! enough to try every state, with the start of every state's line, and every byte behind it.

use chime_protocol::{Command, Request, RequestDecoder};

use crate::{STATES, decode, decode_byte_by_byte};

/// What follows a line.
const FOLLOWING: &[u8] = b"time\n10\n";

/// The line of every state, then every byte, then LF give the same requests in one piece as byte by byte.
/// *Enumerated:* from every state, the line of every state and each of the 256 bytes. More bytes follow, because the
/// path for names compares 16 bytes at once.
#[test]
fn every_run_of_every_state_is_its_bytes() {
    let mut input = Vec::new();
    for state in STATES.iter() {
        for run in STATES.iter() {
            let mut after_run = state.decoder.clone();
            let requests = decode_byte_by_byte(&mut after_run, &run.line);
            assert!(requests.is_empty(), "the lines of the states have no LF");
            for byte in 0..=255 {
                input.clear();
                input.extend_from_slice(&run.line);
                input.extend_from_slice(&[byte, b'\n']);
                input.extend_from_slice(FOLLOWING);
                let mut by_bytes = after_run.clone();
                let expected = [
                    by_bytes.next(&mut &[byte][..]),
                    by_bytes.next(&mut &b"\n"[..]),
                ];
                let mut whole = state.decoder.clone();
                let mut rest = &input[..];
                for request in expected.into_iter().flatten() {
                    assert_eq!(
                        whole.next(&mut rest),
                        Some(request),
                        "{}",
                        input.escape_ascii()
                    );
                }
                assert!(
                    rest == FOLLOWING && whole == by_bytes,
                    "{}",
                    input.escape_ascii()
                );
            }
        }
    }
}

/// A command in front of other lines. *Enumerated:* each name, with each of the first 16 bytes replaced by each of the
/// 256 bytes, with no to 15 bytes behind.
#[test]
fn a_plain_line_is_its_bytes() {
    for name in Command::ALL.map(Command::name) {
        for rest in 0..=15 {
            let mut input = format!("{name}\n").into_bytes();
            input.extend(&b"day\n12345\nxxtime"[..rest]);
            for position in 0..input.len().min(16) {
                for byte in 0..=255 {
                    let mut input = input.clone();
                    input[position] = byte;
                    check_whole(&RequestDecoder::new(), &input);
                }
            }
        }
    }
}

/// An invalid line ends at its first LF. *Enumerated:* each byte value, repeated, and the LF at each position.
#[test]
fn an_invalid_line_ends_at_lf() {
    for byte in (0..=255).filter(|byte| *byte != b'\n') {
        for length in 0..=40 {
            let mut input = vec![byte; length];
            input.extend(b"\nday\n");
            check_whole(&RequestDecoder::new(), &input);
            check_whole(&invalid(), &input);
        }
    }
}

fn invalid() -> RequestDecoder {
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(&mut &b"?"[..]), None);
    decoder
}

/// Asserts that `input` in one piece gives the same requests and the same state as byte by byte.
fn check_whole(start: &RequestDecoder, input: &[u8]) {
    let (mut whole, mut by_bytes) = (start.clone(), start.clone());
    assert_eq!(
        decode(&mut whole, input),
        decode_byte_by_byte(&mut by_bytes, input),
        "{}",
        input.escape_ascii()
    );
    assert_eq!(whole, by_bytes, "{}", input.escape_ascii());
}

/// The longest string of digits that the lemma tries: every way in which blocks of 16 and of 128 bytes follow each
/// other, and the bytes behind them.
const LENGTH_MAX: usize = 16 + 2 * 128 + 2 * 16 + 15;

/// Digits are summed up to the first byte that is none. *Enumerated:* for the longest string, each position replaced
/// by each of the 256 bytes; for each shorter one, each position replaced by the bytes beside the digits, blanks,
/// line ends and some others. *Argued:* in `digits.rs`, whether a byte is a digit depends on that byte alone, and
/// further blocks repeat a loop that keeps nothing but the sum.
#[test]
fn blocks_of_digits_are_their_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    for length in 0..=LENGTH_MAX {
        let bytes = match length {
            LENGTH_MAX => &all[..],
            _ => b"/08:;\n\r\t a*\0\x80\xb0\xff",
        };
        let mut input = vec![b'9'; length];
        input.push(b'\n');
        for position in 0..length {
            for byte in bytes {
                input[position] = *byte;
                check_digits(&input, position);
            }
            input[position] = b'9';
        }
    }
}

/// Checks a line that consists of nines, but for the byte at `position`, and of LF.
fn check_digits(input: &[u8], position: usize) {
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.next(&mut &b"0"[..]), None);
    let mut rest = input;
    let request = decoder.next(&mut rest);
    let before = 9 * position as u64;
    let after = 9 * (input.len() - position - 2) as u64;
    let (expected, expected_rest) = match input[position] {
        digit @ b'0'..=b'9' => {
            let digit = u64::from(digit - b'0');
            (Request::Digits(before + digit + after), &b""[..])
        }
        b'\n' => (Request::Digits(before), &input[position + 1..]),
        b' ' | b'\t' | b'\r' if after == 0 => (Request::Digits(before), &b""[..]),
        _ => (Request::Invalid, &b""[..]),
    };
    assert!(
        request == Some(expected) && rest == expected_rest,
        "{request:?} for {}",
        input.escape_ascii()
    );
}

/// Lines of one byte value, repeated, where a block-wise sum could overflow or take letters for digits.
/// *Enumerated:* each byte value and each length.
#[test]
fn uniform_blocks_are_their_bytes() {
    for byte in 0..=255 {
        let mut input = vec![b'0'];
        for _ in 0..=LENGTH_MAX {
            check_whole(&RequestDecoder::new(), &input);
            input.push(byte);
        }
    }
}
