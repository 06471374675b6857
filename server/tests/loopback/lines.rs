//! Sessions with the framing `line`, for each service.

use std::io::Write;

use chrono::{NaiveDateTime, TimeDelta, Utc};

use crate::{FLAGS, ServerProcess, command, raise_descriptor_limit, read_line, read_to_eof};

const WELCOME: &str = "Welcome to the server\n";
const COMMAND_ERROR: &str = "You entered an invalid command\n";
const DIGIT_ERROR: &str = "Please enter a valid String of Digits or type 'quit' to exit.\n";
const FAREWELL: &str = "Thank You .. See You soon !! \n";

#[test]
fn a_session_of_four_lines() {
    let server = ServerProcess::start(&[]);
    let text = server.replies_to("day\n12345\nquit\n");
    let lines: Vec<&str> = text.lines().collect();
    let [welcome, weekday, sum, farewell] = lines[..] else {
        panic!("four lines, not {text:?}");
    };
    assert_eq!(welcome, "Welcome to the server");
    assert!(weekday.ends_with("day"), "{weekday}");
    assert_eq!(sum, "15");
    assert_eq!(farewell, "Thank You .. See You soon !! ");
}

#[test]
fn the_server_speaks_first() {
    let server = ServerProcess::start(&[]);
    assert_eq!(read_line(&server.connect()), WELCOME);
}

#[test]
fn the_time_is_now_in_local_time_or_in_utc() {
    let (local, utc) = FLAGS.split_at(4);
    assert_eq!(utc, ["--utc"]);
    let offset = TimeDelta::minutes(5 * 60 + 45);
    for (flags, offset) in [(local, offset), (&FLAGS[..], TimeDelta::zero())] {
        let server = ServerProcess::spawn(command(flags).env("TZ", "<+0545>-5:45"), 2);
        let before = Utc::now().naive_utc() + offset;
        let text = server.replies_to("send time\n");
        let after = Utc::now().naive_utc() + offset;
        let reply = text.lines().nth(1).expect("a reply");
        let time = NaiveDateTime::parse_from_str(reply, "%Y-%m-%d %H:%M:%S%.6f").unwrap();
        // The reply is truncated to microseconds.
        assert!(
            before - TimeDelta::microseconds(1) <= time && time <= after,
            "{flags:?}: {time} is not between {before} and {after}"
        );
    }
}

#[test]
fn a_half_closed_client_gets_a_reply_to_its_last_line() {
    let server = ServerProcess::start(&[]);
    assert_eq!(server.replies_to("12\n345"), format!("{WELCOME}3\n12\n"));
    assert_eq!(server.replies_to(""), WELCOME);
}

#[test]
fn replies_do_not_depend_on_tcp_segmentation() {
    let server = ServerProcess::start(&[]);
    let mut stream = server.connect();
    for byte in b"1\r\n 23\t\n\nquit\n" {
        stream.write_all(&[*byte]).expect("sent");
    }
    let expected = format!("{WELCOME}1\n5\n{COMMAND_ERROR}{FAREWELL}");
    assert_eq!(read_to_eof(stream), expected);
}

#[test]
fn nothing_is_answered_after_quit() {
    let server = ServerProcess::start(&[]);
    let text = server.replies_to("exit\n1\nday\n".repeat(1000));
    assert_eq!(text, format!("{WELCOME}{FAREWELL}"));
}

#[test]
fn unread_input_at_close_does_not_lose_the_last_reply() {
    let server = ServerProcess::start(&[]);
    for _ in 0..200 {
        let mut stream = server.connect();
        stream.write_all(b"quit\nmore").expect("sent");
        // Arrives while the server closes: closing with unread bytes would reset the connection.
        stream.write_all(b" and more\n").expect("sent");
        assert_eq!(read_to_eof(stream), format!("{WELCOME}{FAREWELL}"));
    }
}

#[test]
fn the_date_time_service_rejects_digits_and_sends_no_farewell() {
    let server = ServerProcess::start(&["--service", "date-time"]);
    let text = server.replies_to("12345\nhelp\nsend time\nquit\nday\n");
    assert_eq!(text, format!("{WELCOME}{}", COMMAND_ERROR.repeat(3)));
    let text = server.replies_to("day\ndate\ntime\n");
    assert_eq!(text.lines().count(), 4);
    assert!(!text.contains("invalid"), "{text}");
}

#[test]
fn the_digit_sum_service_accepts_only_digits_and_quit() {
    let server = ServerProcess::start(&["--service", "digit-sum"]);
    let text = server.replies_to("007\nday\nhelp\nexit\n");
    assert_eq!(
        text,
        format!("{WELCOME}7\n{DIGIT_ERROR}{DIGIT_ERROR}{FAREWELL}")
    );
}

#[test]
fn many_clients_are_served_concurrently() {
    raise_descriptor_limit();
    let server = ServerProcess::start(&[]);
    let mut streams: Vec<_> = (0..500).map(|_| server.connect()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        write!(stream, "{number}\n{number}").expect("sent");
    }
    for stream in &mut streams {
        assert_eq!(read_line(stream), WELCOME);
        stream.write_all(b"0\nquit\n").expect("sent");
    }
    for (number, stream) in streams.into_iter().enumerate() {
        let digits = number.to_string();
        let sum: u32 = digits.chars().filter_map(|digit| digit.to_digit(10)).sum();
        assert_eq!(read_to_eof(stream), format!("{sum}\n{sum}\n{FAREWELL}"));
    }
}
