//! What answers each datagram.

use chime_protocol::{DATAGRAM_MAX, answer_datagram};

use crate::at;

/// D1: four commands, in any letter case, with at most one line end and nothing else.
#[test]
fn a_datagram_asks_for_the_time() {
    assert_eq!(
        datagram("send time"),
        Some("2026-11-21 06:32:06.123456".into())
    );
    assert_eq!(datagram("Day"), Some("Saturday".into()));
    assert_eq!(datagram("DATE"), Some("26-11-21".into()));
    assert_eq!(datagram("time"), Some("06:32:06".into()));
    for request in [
        "day\n\n",
        "day\r",
        "day\r\r\n",
        " day",
        "day ",
        "day\nday",
        "send  time",
        "\n",
    ] {
        assert_eq!(datagram(request), None, "{request:?}");
    }
}

/// D2: a line end is answered with LF, and none with none.
#[test]
fn a_datagram_is_answered_with_the_line_end_that_it_had() {
    assert_eq!(datagram("time"), Some("06:32:06".into()));
    assert_eq!(datagram("time\n"), Some("06:32:06\n".into()));
    assert_eq!(datagram("time\r\n"), Some("06:32:06\n".into()));
}

/// D3: no reply is a request, nor are the other commands.
#[test]
fn anything_else_in_a_datagram_gets_silence() {
    for request in ["day", "date", "time\n", "send time\n"] {
        assert_eq!(datagram(&datagram(request).unwrap()), None);
    }
    for request in [
        "",
        "12345",
        "0\n",
        "help",
        "quit",
        "exit",
        "what?",
        "²",
        "Welcome to the server\n",
    ] {
        assert_eq!(datagram(request), None, "{request:?}");
    }
}

/// D4: a reply is short, and at most three times its request.
#[test]
fn a_datagram_is_not_amplified() {
    assert_eq!(DATAGRAM_MAX, 32);
    let longest_day = at("2026-11-25 00:00:00");
    for request in ["day", "day\n", "date", "time", "send time", "send time\n"] {
        let mut buffer = [0; DATAGRAM_MAX];
        let reply = answer_datagram(request.as_bytes(), longest_day, &mut buffer).unwrap();
        assert!(
            reply.len() <= 32 && reply.len() <= 3 * request.len(),
            "{request:?}"
        );
    }
}

/// D5: what was asked before, and what is left in the buffer, make no difference.
#[test]
fn datagrams_leave_nothing_behind() {
    let now = at("2026-11-21 06:32:06.123456");
    let mut buffer = [0; DATAGRAM_MAX];
    for _ in 0..2 {
        assert_eq!(
            answer_datagram(b"send time\n", now, &mut buffer)
                .unwrap()
                .len(),
            27
        );
        assert_eq!(answer_datagram(b"what?", now, &mut buffer), None);
        assert_eq!(
            answer_datagram(b"day", now, &mut buffer),
            Some(&b"Saturday"[..])
        );
    }
}

/// The datagram that answers a datagram.
fn datagram(request: &str) -> Option<String> {
    let now = at("2026-11-21 06:32:06.123456");
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = answer_datagram(request.as_bytes(), now, &mut buffer)?;
    Some(String::from_utf8(reply.to_vec()).expect("replies are ASCII"))
}
