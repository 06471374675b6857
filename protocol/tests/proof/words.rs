//! Lemma 1: the states of the decoder are few, and a line that no name begins with never becomes a command.

use std::collections::BTreeSet;

use chime_protocol::{Command, Request, RequestDecoder, Service};

use crate::{STATES, bytes_of_a_line, model_reply, now};

/// The decoder has one state per prefix of a name, and a few for blanks and digits. *Enumerated:* all states, by
/// trying every byte from every state until no new state appears.
#[test]
fn the_states_are_few() {
    let prefixes: BTreeSet<&str> = Command::ALL
        .iter()
        .flat_map(|command| (1..=command.name().len()).map(|length| &command.name()[..length]))
        // A space may be trailing, so it is no part of the word before the next byte.
        .filter(|prefix| !prefix.ends_with(' '))
        .collect();
    // Nothing, digits, and each word: alone, with a space, with other blanks, with a CR. Then invalid lines, with
    // a CR that was not the last byte and without.
    assert_eq!(STATES.len(), 4 * (2 + prefixes.len()) + 2);
}

/// A line that no name begins with is one state, which only LF and the end of the input leave. *Enumerated:* every
/// byte.
#[test]
fn an_invalid_line_stays_invalid() {
    for line in [
        &b"x"[..],
        b"dd",
        b"0x",
        b"\rx",
        b"send\ttime",
        b"send  t",
        b"quit q",
    ] {
        let mut decoder = RequestDecoder::new();
        assert_eq!(decoder.next(&mut &line[..]), None);
        for byte in 0..=255 {
            let mut after = decoder.clone();
            match after.next(&mut &[byte][..]) {
                Some(request) => assert_eq!((byte, request), (b'\n', Request::Invalid)),
                None => assert_eq!(after, decoder, "{byte} changes an invalid line"),
            }
        }
        assert_eq!(decoder.finish(), Some(Request::Invalid));
    }
}

/// Each name is its command in every mix of upper and lower case, and no other state is one. *Enumerated:* every
/// mix of each name, and every state.
#[test]
fn only_names_are_commands() {
    for command in Command::ALL {
        let name = command.name();
        for upper in 0..1 << name.len() {
            let letters = name.bytes().enumerate();
            let mixed: Vec<u8> = letters
                .map(|(index, byte)| match upper & 1 << index {
                    0 => byte,
                    _ => byte.to_ascii_uppercase(),
                })
                .collect();
            let text = str::from_utf8(&mixed).unwrap();
            assert_eq!(Request::of_line(text), Request::Command(command));
        }
    }
    for state in STATES.iter() {
        if let Some(Request::Command(command)) = state.decoder.clone().finish() {
            let text = str::from_utf8(&state.line).unwrap().trim();
            assert!(text.eq_ignore_ascii_case(command.name()), "{text}");
        }
    }
}

/// [`Request::of_line`] is the decoder: nothing else parses lines. *Enumerated:* the line of every state with each
/// byte after it, and with a second line that is ignored.
#[test]
fn of_line_is_the_decoder() {
    for state in STATES.iter() {
        for byte in bytes_of_a_line() {
            let line = [&state.line[..], &[byte]].concat();
            let Ok(text) = str::from_utf8(&line) else {
                continue;
            };
            let mut decoder = RequestDecoder::new();
            assert_eq!(decoder.next(&mut &line[..]), None);
            let request = decoder.finish().expect("the line has a byte");
            assert_eq!(Request::of_line(text), request, "{text:?}");
            assert_eq!(
                Request::of_line(&format!("{text}\nday")),
                request,
                "{text:?}"
            );
        }
    }
    assert_eq!(Request::of_line(""), Request::Invalid);
    assert_eq!(Request::of_line("\nday"), Request::Invalid);
}

/// Each command is in [`Command::ALL`] at the index of its discriminant, at which it is counted. *Enumerated:* all.
#[test]
fn commands_are_in_order() {
    assert!((0..Command::ALL.len()).eq(Command::ALL.map(|command| command as usize)));
}

/// Model and decoder know the same names: `help` lists them. *Enumerated:* all commands. That the model knows no
/// other is *argued*: read `naive::answer`.
#[test]
fn help_lists_every_command() {
    let (help, _) = model_reply(Service::Both, Request::Command(Command::Help), now());
    let help = help.expect("this service has help");
    let (_, names) = help.split_once(": ").expect("names follow");
    let names = names
        .split(", ")
        .filter(|name| !name.starts_with("a string"));
    assert!(names.eq(Command::ALL.map(Command::name)));
}
