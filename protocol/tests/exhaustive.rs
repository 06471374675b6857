//! Exhaustive tests of small input spaces.

use chime_protocol::model::naive::{self, Answer};
use chime_protocol::model::{
    Script, Step, check_client_against_server, check_datagram, check_replies, check_session,
    check_session_against,
};
use chime_protocol::{Command, Framing, Reply, Service, Session, Status};
use chrono::NaiveDateTime;

/// Conversations of up to 20 bytes in which a cut could change the replies.
const CONVERSATIONS: [&[u8]; 8] = [
    b"day\r\n12\n\nquit\nday\n",
    b" Send Time\r\r\n007\n\t1\n",
    b"exit\r\nexit\n",
    b"1 2\n12 \n 12\r",
    b"\r\n\r\r\n \r\n\r",
    b"da\xffy\n\0\nquit",
    b"9999999999999999\n",
    b"12345678901234567x\n",
];

const SERVICES: [Service; 3] = [Service::Both, Service::DateTime, Service::DigitSum];

/// Writes the output of a session to `sent`, with `bytes` cut after each byte whose bit is set in `cuts`.
fn sent_when_cut(service: Service, bytes: &[u8], cuts: u32, sent: &mut Vec<u8>) {
    let now = Script::clock_at_start();
    let mut session = Session::new(service, Framing::Line);
    let mut output = [0; 256];
    let mut start = 0;
    sent.clear();
    for end in 1..=bytes.len() {
        if end < bytes.len() && cuts & 1 << (end - 1) == 0 {
            continue;
        }
        let progress = session.advance(&bytes[start..end], &mut output, now);
        assert_ne!(progress.status, Status::OutputFull, "the output is large");
        sent.extend(&output[..progress.written]);
        start = end;
    }
    let progress = session.finish(&mut output, now);
    sent.extend(&output[..progress.written]);
}

fn script(service: Service, framing: Framing, output_size: usize, reads: &[&[u8]]) -> Script {
    let reads = reads.iter().map(|read| Step::Read(read.to_vec()));
    let steps = [Step::Room(output_size)].into_iter().chain(reads).collect();
    Script {
        service,
        framing,
        steps,
    }
}

#[test]
fn every_way_to_split_a_conversation_gives_the_same_replies() {
    let mut sent = Vec::new();
    for bytes in CONVERSATIONS {
        assert!(bytes.len() <= 20);
        for service in SERVICES {
            let expected = check_session(&script(service, Framing::Line, 256, &[bytes]));
            for cuts in 0..1 << (bytes.len() - 1) {
                sent_when_cut(service, bytes, cuts, &mut sent);
                assert!(sent == expected, "{} cut as {cuts:b}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn every_small_output_buffer_gives_the_same_bytes() {
    for bytes in CONVERSATIONS {
        for service in SERVICES {
            let expected = check_session(&script(service, Framing::Line, 4096, &[bytes]));
            for output_size in 1..=Reply::TEXT_MAX + 6 {
                assert_eq!(
                    check_session(&script(service, Framing::Line, output_size, &[bytes])),
                    expected
                );
            }
        }
    }
}

/// Checks every input of up to five bytes, from an alphabet in which each byte has its own role.
fn check_short_inputs(model: Answer) {
    const ALPHABET: [u8; 9] = *b"day1 \t\r\nx";
    let mut inputs: Vec<Vec<u8>> = vec![vec![]];
    for _ in 0..=5 {
        for input in &inputs {
            check_session_against(model, &script(Service::Both, Framing::Line, 64, &[input]));
        }
        let longer = |input: &Vec<u8>| {
            let input = input.clone();
            ALPHABET.map(|byte| [&input[..], &[byte]].concat())
        };
        inputs = inputs.iter().flat_map(longer).collect();
    }
}

#[test]
fn every_short_input_gets_the_replies_of_the_model() {
    check_short_inputs(naive::answer);
}

#[test]
#[should_panic(expected = "\n> 11\n")]
fn a_wrong_model_is_caught() {
    fn skips_repeated_digits(
        service: Service,
        command: &[u8],
        now: NaiveDateTime,
    ) -> (Option<String>, bool) {
        let mut digits = command.to_vec();
        digits.dedup();
        naive::answer(service, &digits, now)
    }
    check_short_inputs(skips_repeated_digits);
}

#[test]
fn every_command_with_one_byte_replaced_gets_the_reply_of_the_model() {
    for command in [
        "day",
        "date",
        "time",
        "send time",
        "help",
        "quit",
        "exit",
        "12345",
        // Longer than two rows of the digit sum.
        "1234567890123456789012345678901234",
        "day\r",
    ] {
        for position in 0..=command.len() {
            for byte in 0..=255 {
                // More lines follow for code that compares several bytes at once.
                let mut line = format!("{command}\nday\n12345\n").into_bytes();
                line[position] = byte;
                check_session(&script(Service::Both, Framing::Line, 256, &[&line]));
                check_session(&script(
                    Service::Both,
                    Framing::Read,
                    256,
                    &[&line[..command.len()]],
                ));
            }
        }
    }
}

/// Does not depend on the strategies, which may not generate a new command.
#[test]
fn the_model_and_help_include_every_command() {
    let help = Reply::Help.to_string();
    for command in Command::ALL.map(Command::name) {
        assert!(help.split([':', ',']).any(|name| name.trim() == command));
        for service in SERVICES {
            let script = script(service, Framing::Line, 256, &[command.as_bytes(), b"\n"]);
            check_replies(&check_session(&script), &[]);
            check_client_against_server(&script);
        }
        check_datagram(command.as_bytes(), Script::clock_at_start());
    }
}
