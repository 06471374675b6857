//! The start and the end of a conversation, and the framing of commands.

use chime_protocol::{Framing, Service, Session};

use crate::{COMMAND_ERROR, DIGIT_ERROR, FAREWELL, Server};

/// G1: the welcome is sent before anything is read, also if the client half-closes at once.
#[test]
fn the_server_speaks_first() {
    let mut server = Server::new(Session::new(Service::Both, Framing::Line));
    assert_eq!(server.read(""), "Welcome to the server\n");
    let mut server = Server::new(Session::new(Service::Both, Framing::Line));
    assert_eq!(server.end(), "Welcome to the server\n");
}

/// G2: the full notice replaces the welcome.
#[test]
fn a_full_server_sends_the_full_notice_and_closes() {
    let mut server = Server::new(Session::refused(Framing::Line));
    assert_eq!(
        server.read("day\n"),
        "The server is full, please try again later\n"
    );
    assert!(server.is_closed);
    assert_eq!(server.end(), "");

    let mut server = Server::new(Session::refused(Framing::Read));
    assert_eq!(
        server.read(""),
        "The server is full, please try again later"
    );
    assert!(server.is_closed);
}

/// G3: bytes that are not ASCII make an invalid command, and the conversation continues.
#[test]
fn every_byte_string_is_a_legal_conversation() {
    let mut server = Server::with_lines(Service::Both);
    for byte in 0x80..=0xff_u8 {
        assert_eq!(server.read([byte, b'\n']), COMMAND_ERROR);
        assert_eq!(server.read([b'1', byte, b'\n']), COMMAND_ERROR);
        assert_eq!(server.read([b'd', b'a', b'y', byte, b'\n']), COMMAND_ERROR);
    }
    assert_eq!(server.read("²\n١\n１\n"), COMMAND_ERROR.repeat(3));
    assert_eq!(server.read("\0\n"), COMMAND_ERROR);
    assert_eq!(server.read("day\n"), "Saturday\n");
}

/// L1: one reply per line, in order, and none before the line ends.
#[test]
fn every_line_gets_one_reply_in_order() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("12"), "");
    assert_eq!(server.read("\n"), "3\n");
    assert_eq!(
        server.read("1\nday\n\n2\n"),
        format!("1\nSaturday\n{COMMAND_ERROR}2\n")
    );
    assert_eq!(server.read("\n\n\n"), COMMAND_ERROR.repeat(3));
}

/// L2: one CR before the LF is ignored; any other CR makes the command invalid.
#[test]
fn one_cr_before_lf_is_ignored() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read("day\r\n"), "Saturday\n");
    assert_eq!(server.read("day \t\r\n"), "Saturday\n");
    assert_eq!(server.read("12\r\n"), "3\n");
    assert_eq!(server.read("\r\n"), COMMAND_ERROR);
    for line in ["day\r\r\n", "day\r \n", "\rday\n", "da\ry\n", "1\r2\n"] {
        assert_eq!(server.read(line), COMMAND_ERROR, "{line:?}");
    }
}

/// L3: spaces and tabs around a command are ignored, but not inside it, and no other white space is.
#[test]
fn blanks_around_a_command_are_ignored() {
    let mut server = Server::with_lines(Service::Both);
    assert_eq!(server.read(" \t day\t \n"), "Saturday\n");
    assert_eq!(server.read("\t12 \n"), "3\n");
    assert_eq!(
        server.read("  send time  \n"),
        "2026-11-21 06:32:06.123456\n"
    );
    for line in [
        "da y\n",
        "1 2\n",
        "1\t2\n",
        "\x0bday\n",
        "day\x0c\n",
        "\u{a0}day\n",
        " \t\n",
    ] {
        assert_eq!(server.read(line), COMMAND_ERROR, "{line:?}");
    }
}

/// L4: a line in many reads and many lines in one read are the same conversation.
#[test]
fn replies_do_not_depend_on_how_the_bytes_are_split() {
    let lines = "send time\r\n 12345 \nquitt\nday\nquit\n";
    let mut server = Server::with_lines(Service::Both);
    let at_once = server.read(lines);
    assert_eq!(
        at_once,
        format!("2026-11-21 06:32:06.123456\n15\n{COMMAND_ERROR}Saturday\n{FAREWELL}"),
    );
    let mut server = Server::with_lines(Service::Both);
    let by_bytes: String = lines.bytes().map(|byte| server.read([byte])).collect();
    assert_eq!(by_bytes, at_once);
}

/// L5: a last line needs no LF; a CR at its end is ignored, but counts as a byte.
#[test]
fn a_last_line_without_lf_gets_a_reply() {
    for (last, reply) in [
        ("", ""),
        ("day", "Saturday\n"),
        ("day\n", ""),
        (" day \r", "Saturday\n"),
        ("12", "3\n"),
        ("quit", FAREWELL),
        ("\r", COMMAND_ERROR),
        (" ", COMMAND_ERROR),
        ("day\r\r", COMMAND_ERROR),
    ] {
        let mut server = Server::with_lines(Service::Both);
        server.read(last);
        assert_eq!(server.end(), reply, "{last:?}");
    }
}

/// L6: a megabyte of digits, letters or blanks is one line, and a session has a fixed size.
#[test]
fn a_line_can_have_any_length() {
    let mut server = Server::with_lines(Service::Both);
    for (byte, end, reply) in [
        ("9", "\n", "9000000\n"),
        ("0", "7\n", "7\n"),
        ("d", "\n", COMMAND_ERROR),
        (" ", "day\n", "Saturday\n"),
        ("\r", "\n", COMMAND_ERROR),
    ] {
        for _ in 0..100 {
            assert_eq!(server.read(byte.repeat(10_000)), "");
        }
        assert_eq!(server.read(end), reply, "{byte:?}");
    }
    assert!(size_of::<Session>() <= 64);
}

/// R1: a read is a whole command: it is neither trimmed, nor split, nor joined to another.
#[test]
fn one_read_is_one_command() {
    let error = COMMAND_ERROR.trim_end();
    let mut server = Server::with_reads(Service::Both);
    assert_eq!(server.read("day"), "Saturday");
    assert_eq!(server.read("send time"), "2026-11-21 06:32:06.123456");
    assert_eq!(server.read("9".repeat(1025)), "9225");
    for read in [
        "day\n",
        "day\r\n",
        " day",
        "day ",
        "dayday",
        "day\nday\n",
        "12\n",
        "\n",
    ] {
        assert_eq!(server.read(read), error, "{read:?}");
    }
    assert_eq!(server.read("da"), error);
    assert_eq!(server.read("y"), error);
}

/// R2: neither the welcome nor a reply has a line end, and one call writes the whole reply.
#[test]
fn replies_to_reads_have_no_line_end() {
    let mut server = Server::with_reads(Service::DigitSum);
    assert_eq!(server.read("12345"), "15");
    assert_eq!(server.read("day"), DIGIT_ERROR.trim_end());
    assert_eq!(server.read("quit"), "Thank You .. See You soon !! ");
    assert!(server.is_closed);
}

/// R3: an empty read is EOF, and nothing is sent.
#[test]
fn an_empty_read_is_not_a_command() {
    let mut server = Server::with_reads(Service::Both);
    assert_eq!(server.read("day"), "Saturday");
    assert_eq!(server.read(""), "");
    assert!(!server.is_closed);
    assert_eq!(server.end(), "");
}
