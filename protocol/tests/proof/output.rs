//! Lemma 5: a reply arrives whole, however small the output buffers are, and with the time of its request.
//!
//! *Argued:* `Session::write_reply` looks at nothing but the reply, the number of its bytes already written, the
//! room in the output and the framing. So two buffers are enough: the first sets the offset, the second the room.

use chime_protocol::{Framing, Reply, Service, Session, Status};

use crate::{later, now};

/// The room that any reply needs, and one byte more.
const ROOM: usize = Reply::TEXT_MAX + 2;

/// A conversation: a session and the input to it.
type Case = (Session, Vec<u8>);

/// Conversations with each kind of reply, and with each number of digits that the tests can reach.
fn cases(framing: Framing) -> Vec<Case> {
    let long = "9".repeat(2_000);
    let session = |service| Session::new(service, framing);
    let mut cases = vec![
        (Session::refused(framing), b"day".to_vec()),
        (session(Service::DateTime), b"quit".to_vec()),
        (session(Service::DigitSum), b"day".to_vec()),
    ];
    for command in [
        "",
        "day",
        "date",
        "time",
        "send time",
        "help",
        "quit",
        "exit",
        "?",
        "7",
        "99",
        &long[..20],
        &long[..200],
        &long,
    ] {
        cases.push((session(Service::Both), command.into()));
    }
    if framing == Framing::Line {
        for (_, input) in &mut cases {
            input.push(b'\n');
        }
    }
    cases
}

/// Runs a session to its end, with buffers of `rooms` and then of [`ROOM`] bytes, and returns what it sends.
fn sent(mut session: Session, mut input: &[u8], rooms: &[usize]) -> Vec<u8> {
    let mut sent: Vec<u8> = Vec::new();
    let mut buffer = [0; 4 * ROOM];
    let mut rooms = rooms.iter().copied();
    loop {
        let room = rooms.next().unwrap_or(ROOM);
        let output = &mut buffer[..room];
        let progress = session.advance(input, output, now());
        sent.extend(&output[..progress.written]);
        input = &input[progress.read..];
        match progress.status {
            Status::OutputFull => assert_eq!(progress.written, room, "there is room"),
            Status::NeedInput => {
                assert!(input.is_empty());
                return sent;
            }
            Status::Closed => return sent,
        }
    }
}

/// Each reply, written from each offset into each room, is the same bytes. *Enumerated:* each kind of reply, both
/// framings, each size of the first two buffers from none to more than the longest reply needs.
#[test]
fn each_reply_arrives_whole() {
    for framing in Framing::ALL.iter().copied() {
        for (session, input) in cases(framing) {
            let expected = sent(session.clone(), &input, &[4 * ROOM]);
            for first in 0..=ROOM {
                for second in 0..=ROOM {
                    assert_eq!(sent(session.clone(), &input, &[first, second]), expected);
                    assert_eq!(after_greeting(&session, &input, first, second), expected);
                }
            }
        }
    }
}

/// Returns what a session sends, with the welcome or the full notice in one call, and the reply to `input` in buffers of `first`,
/// `second` and then enough bytes. The time changes once the request is read.
fn after_greeting(session: &Session, input: &[u8], first: usize, second: usize) -> Vec<u8> {
    let mut session = session.clone();
    let mut buffer = [0; ROOM];
    let progress = session.advance(b"", &mut buffer, now());
    let mut sent = buffer[..progress.written].to_vec();
    let mut rest = input;
    for (call, room) in [first, second, ROOM].into_iter().enumerate() {
        let time = if call == 0 { now() } else { later() };
        let progress = session.advance(rest, &mut buffer[..room], time);
        sent.extend(&buffer[..progress.written]);
        rest = &rest[progress.read..];
        match progress.status {
            Status::OutputFull => assert_eq!(progress.written, room),
            Status::NeedInput | Status::Closed => {}
        }
    }
    sent
}

/// The reply to a last line that the end of the input completes arrives whole, too. *Enumerated:* each size of the
/// first two buffers.
#[test]
fn the_last_reply_arrives_whole() {
    for room in 1..=ROOM {
        for second in 1..=ROOM {
            let mut session = Session::new(Service::Both, Framing::Line);
            let mut buffer = [0; ROOM];
            let progress = session.advance(b"help", &mut buffer, now());
            assert_eq!((progress.read, progress.status), (4, Status::NeedInput));
            let mut sent: Vec<u8> = Vec::new();
            let mut rooms = [room, second].into_iter();
            loop {
                let room = rooms.next().unwrap_or(ROOM);
                let progress = session.finish(&mut buffer[..room], later());
                sent.extend(&buffer[..progress.written]);
                match progress.status {
                    Status::OutputFull => assert_eq!(progress.written, room),
                    Status::Closed => break,
                    Status::NeedInput => panic!("the input has ended"),
                }
            }
            assert_eq!(sent, format!("{}\n", Reply::Help).as_bytes());
        }
    }
}

/// The requests of one read get their replies in order, also those whose reply the session copies, because it has sent it in
/// this call. *Enumerated:* each pair of requests and the first one again, each size of the first buffer up to more than
/// all replies need, then of one byte or enough. *Argued:* `Session::run` copies only the reply to the same command.
#[test]
fn replies_arrive_in_order() {
    let lines = [
        "day",
        "date",
        "time",
        "send time",
        "help",
        "quit",
        "?",
        "12",
        "",
    ];
    for service in Service::ALL.iter().copied() {
        for one in lines {
            for two in lines {
                let session = || Session::new(service, Framing::Line);
                let welcome = sent(session(), b"", &[]).len();
                let line = |text| format!("{text}\n").into_bytes();
                let input = [one, two, one].map(line);
                let is_read = |line: &&Vec<u8>| *line != b"quit\n";
                let count = input.iter().take_while(is_read).count() + 1;
                let mut expected = sent(session(), b"", &[]);
                for line in input.iter().take(count) {
                    expected.extend(&sent(session(), line, &[])[welcome..]);
                }
                let input = input.concat();
                for first in 0..=expected.len() + 2 {
                    assert_eq!(sent(session(), &input, &[first]), expected);
                    assert_eq!(sent(session(), &input, &[first, 1, 1]), expected);
                }
            }
        }
    }
}

/// A sum is written in decimal. *Enumerated:* each power of ten, the numbers around it, and the largest.
#[test]
fn sums_are_written_in_decimal() {
    let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
    for sum in powers
        .flat_map(|power| [power - 1, power, power + 1])
        .chain([u64::MAX])
    {
        assert_eq!(Reply::Sum(sum).to_string(), sum.to_string());
    }
}
