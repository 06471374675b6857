//! Lemma 8: a datagram gets the reply of the model or silence, and no reply is a request.
//!
//! [`check_datagram`] compares with the model. It also checks that a reply is at most 32 bytes, at most three times
//! as long as its request, and no request itself.

use chime_model::check_datagram;
use chime_protocol::{Command, DATAGRAM_MAX, answer_datagram};
use chrono::{Days, NaiveDateTime, NaiveTime};

use crate::{STATES, now};

/// A datagram that begins like a command gets the right reply. *Enumerated:* the line of every state of the decoder
/// (so every prefix of every name, also with blanks or a CR), with every one and every two bytes behind it.
/// *Argued:* `Command::parse` compares the datagram without its line end with each name, byte by byte and ignoring
/// case. So only a datagram of the length of a name, and two bytes at most, can get a reply, and a byte that
/// differs makes it silent wherever it is.
#[test]
fn every_datagram_gets_the_reply_of_the_model() {
    for state in STATES.iter() {
        let mut datagram = state.line.clone();
        check_datagram(&datagram, now());
        let length = datagram.len();
        datagram.extend([0, 0]);
        for first in 0..=255 {
            datagram[length] = first;
            check_datagram(&datagram[..=length], now());
            // The model is slow: two bytes are compared with it where they may be a line end.
            for second in 0..=255 {
                datagram[length + 1] = second;
                match is_line_end(first) || is_line_end(second) {
                    true => check_datagram(&datagram, now()),
                    false => check_letters(&datagram),
                }
            }
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// A datagram that does not end in CR or LF gets a reply if and only if it is the name of a time command.
fn check_letters(datagram: &[u8]) {
    let mut names = Command::time_commands().map(Command::name);
    let is_request = names.any(|name| name.as_bytes().eq_ignore_ascii_case(datagram));
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = answer_datagram(datagram, now(), &mut buffer);
    assert_eq!(reply.is_some(), is_request, "{}", datagram.escape_ascii());
}

/// One wrong byte makes a datagram silent. *Enumerated:* each name with each line end, each position replaced by
/// each of the 256 bytes, in each case.
#[test]
fn one_wrong_byte_makes_silence() {
    for name in Command::ALL.map(Command::name) {
        for line_end in ["", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\n\r\n", "\n\r"] {
            for text in [name.to_string(), name.to_uppercase()] {
                let mut datagram = (text + line_end).into_bytes();
                for position in 0..datagram.len() {
                    let byte = datagram[position];
                    for other in 0..=255 {
                        datagram[position] = other;
                        check_datagram(&datagram, now());
                    }
                    datagram[position] = byte;
                }
            }
        }
    }
}

/// No reply is a request, and none is long, at any time. *Enumerated:* each weekday, and each second of a day.
/// *Argued:* by lemma 6, all other replies begin with a digit and have a length that does not depend on the time.
#[test]
fn no_reply_is_a_request_at_any_time() {
    let midnight = now().date().and_time(NaiveTime::MIN);
    let days = (0..7).map(|days| midnight + Days::new(days));
    let seconds = (0..86_400).map(|second| midnight + chrono::TimeDelta::seconds(second));
    for time in days.chain(seconds) {
        check_all(time);
    }
}

fn check_all(time: NaiveDateTime) {
    for command in Command::time_commands() {
        for line_end in ["", "\n", "\r\n"] {
            let mut buffer = [0; DATAGRAM_MAX];
            let request = format!("{}{line_end}", command.name());
            let reply =
                answer_datagram(request.as_bytes(), time, &mut buffer).expect("it is a request");
            assert!(reply.len() <= 32 && reply.len() <= 3 * request.len());
            assert_eq!(answer_datagram(reply, time, &mut [0; DATAGRAM_MAX]), None);
        }
    }
}
