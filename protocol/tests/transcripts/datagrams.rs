//! The reply to each datagram.

use chime_protocol::{DATAGRAM_MAX, answer_datagram};

use crate::at;

/// D1: four commands, in any letter case, with at most one line end and nothing else.
#[test]
fn a_datagram_can_request_only_the_time() {
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

/// D2: the reply ends with LF if the request has a line end.
#[test]
fn a_reply_has_a_line_end_if_its_request_has() {
    assert_eq!(datagram("time"), Some("06:32:06".into()));
    assert_eq!(datagram("time\n"), Some("06:32:06\n".into()));
    assert_eq!(datagram("time\r\n"), Some("06:32:06\n".into()));
}

/// D3: no reply is a request, and neither are the other commands.
#[test]
fn any_other_datagram_gets_no_reply() {
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
fn amplification_is_at_most_threefold() {
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

/// D5: earlier requests and the previous content of the buffer make no difference.
#[test]
fn datagrams_are_independent() {
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

/// Returns the reply to a datagram.
fn datagram(request: &str) -> Option<String> {
    let now = at("2026-11-21 06:32:06.123456");
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = answer_datagram(request.as_bytes(), now, &mut buffer)?;
    Some(String::from_utf8(reply.to_vec()).expect("replies are ASCII"))
}
