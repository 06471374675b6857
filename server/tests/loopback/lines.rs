//! Conversations with the framing `line`, for each service.

use std::io::Write;

use crate::{Server, read_line, rest_of};

const WELCOME: &str = "Welcome to the server\n";
const COMMAND_ERROR: &str = "You entered an invalid command\n";
const DIGIT_ERROR: &str = "Please enter a valid String of Digits or type 'quit' to exit.\n";
const FAREWELL: &str = "Thank You .. See You soon !! \n";

#[test]
fn a_conversation_of_four_lines() {
    let server = Server::start(&[]);
    let text = server.converse("day\n12345\nquit\n");
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
    let server = Server::start(&[]);
    assert_eq!(read_line(&server.connect()), WELCOME);
}

#[test]
fn the_time_is_now_in_utc() {
    let server = Server::start(&[]);
    let before = chrono::Utc::now().naive_utc();
    let text = server.converse("send time\n");
    let after = chrono::Utc::now().naive_utc();
    let told = text.lines().nth(1).expect("a reply");
    let told = chrono::NaiveDateTime::parse_from_str(told, "%Y-%m-%d %H:%M:%S%.6f").unwrap();
    // The reply leaves out what is less than a microsecond.
    assert!(before - chrono::TimeDelta::microseconds(1) <= told && told <= after);
}

#[test]
fn a_half_closed_client_gets_its_last_line_answered() {
    let server = Server::start(&[]);
    assert_eq!(server.converse("12\n345"), format!("{WELCOME}3\n12\n"));
    assert_eq!(server.converse(""), WELCOME);
}

#[test]
fn replies_do_not_depend_on_how_bytes_were_cut() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for byte in b"1\r\n 23\t\n\nquit\n" {
        stream.write_all(&[*byte]).expect("sent");
    }
    let expected = format!("{WELCOME}1\n5\n{COMMAND_ERROR}{FAREWELL}");
    assert_eq!(rest_of(stream), expected);
}

#[test]
fn nothing_is_answered_after_quit() {
    let server = Server::start(&[]);
    let text = server.converse("exit\n1\nday\n".repeat(1000));
    assert_eq!(text, format!("{WELCOME}{FAREWELL}"));
}

#[test]
fn the_last_reply_is_not_lost_to_a_client_that_has_sent_more() {
    let server = Server::start(&[]);
    for _ in 0..200 {
        let mut stream = server.connect();
        stream.write_all(b"quit\nmore").expect("sent");
        // Sent while the server closes: were it to close with bytes unread, it would reset.
        stream.write_all(b" and more\n").expect("sent");
        assert_eq!(rest_of(stream), format!("{WELCOME}{FAREWELL}"));
    }
}

#[test]
fn the_service_date_time_tells_no_sums_and_says_no_farewell() {
    let server = Server::start(&["--service", "date-time"]);
    let text = server.converse("12345\nhelp\nsend time\nquit\nday\n");
    assert_eq!(text, format!("{WELCOME}{}", COMMAND_ERROR.repeat(3)));
    let text = server.converse("day\ndate\ntime\n");
    assert_eq!(text.lines().count(), 4);
    assert!(!text.contains("invalid"), "{text}");
}

#[test]
fn the_service_digit_sum_tells_sums_only() {
    let server = Server::start(&["--service", "digit-sum"]);
    let text = server.converse("007\nday\nhelp\nexit\n");
    assert_eq!(
        text,
        format!("{WELCOME}7\n{DIGIT_ERROR}{DIGIT_ERROR}{FAREWELL}")
    );
}

#[test]
fn many_clients_are_served_at_once() {
    let server = Server::start(&[]);
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
        assert_eq!(rest_of(stream), format!("{sum}\n{sum}\n{FAREWELL}"));
    }
}
