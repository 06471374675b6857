//! The options of the output: JSON for scripts, and verbose steps for troubleshooting.

use std::net::SocketAddr;

use chime_protocol::{Framing, Reply, Service};
use serde_json::{Value, json};

use crate::servers::{chime, chime_udp, replying, sending};
use crate::{Outcome, client, run, run_with_input};

/// Returns the expected JSON object.
fn object(request: Option<&str>, reply: &str, sum: Option<u64>, is_error: bool) -> Value {
    json!({ "request": request, "reply": reply, "sum": sum, "is_error": is_error })
}

/// Parses standard output as one JSON object per line.
#[track_caller]
fn objects(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Returns the lines of standard error without the durations at their ends.
#[track_caller]
fn steps(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines();
    lines
        .map(|line| {
            let (step, time) = line.rsplit_once(" in ").expect("a duration");
            assert!(time.ends_with('s') && time.starts_with(|digit: char| digit.is_ascii_digit()));
            step.strip_prefix("chime-client: ")
                .expect("the program name")
        })
        .collect()
}

fn chime_tcp() -> SocketAddr {
    chime(Service::Both, Framing::Line)
}

#[test]
fn a_reply_is_a_json_object() {
    let server = chime_tcp();
    let now = "2026-11-21 06:32:06.123456";
    for (arguments, request, reply, sum) in [
        ("day", Some("day"), "Saturday", None),
        ("date", Some("date"), "26-11-21", None),
        ("time", Some("time"), "06:32:06", None),
        ("now", Some("send time"), now, None),
        ("sum 0012345", Some("0012345"), "15", Some(15)),
        ("sum -", None, "24", Some(24)),
        ("", Some("789"), "24", Some(24)),
    ] {
        let mut command = client(&format!("{arguments} --json --server {server}"));
        let outcome = run_with_input(&mut command, "789\n");
        let expected = object(request, reply, sum, false);
        assert_eq!(objects(&outcome), [expected], "{arguments}: {outcome:?}");
        assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(0), ""));
    }
    let outcome = run(&format!("--udp --json --server {} day", chime_udp()));
    let expected = object(Some("day"), "Saturday", None, false);
    assert_eq!(objects(&outcome), [expected]);
}

#[test]
fn each_reply_of_a_pipe_is_a_json_object() {
    let mut command = client(&format!("--json --server {}", chime_tcp()));
    let long = "1".repeat(257);
    let input = format!("day\r\nNOW\nwhat?\n18446744073709551615\n{long}\n \t \nhelp\nquit");
    let outcome = run_with_input(&mut command, input);
    let now = "2026-11-21 06:32:06.123456";
    let error = "You entered an invalid command";
    let expected = [
        object(Some("day"), "Saturday", None, false),
        object(Some("send time"), now, None, false),
        object(Some("what?"), error, None, true),
        object(Some("18446744073709551615"), "87", Some(87), false),
        object(None, "257", Some(257), false),
        object(Some(" \t "), error, None, true),
        object(Some("help"), &Reply::Help.to_string(), None, false),
        object(Some("quit"), "Thank You .. See You soon !! ", None, false),
    ];
    assert_eq!(objects(&outcome), expected);
    assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(1), ""));
}

#[test]
fn an_error_reply_is_a_json_object_with_exit_code_1() {
    let mut command = client(&format!("--json --server {} send", chime_tcp()));
    let outcome = run_with_input(command.arg("\"\x1b\""), "");
    let request = Some("\"\x1b\"");
    let expected = object(request, "You entered an invalid command", None, true);
    assert_eq!(objects(&outcome), [expected]);
    assert!(!outcome.stdout.contains('\x1b'), "{outcome:?}");
    assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(1), ""));
}

#[test]
fn no_reply_is_null() {
    let server = chime(Service::DateTime, Framing::Line);
    let outcome = run(&format!("--json --server {server} send quit"));
    assert_eq!(outcome.exit_code, Some(0));
    assert_eq!(objects(&outcome)[0]["reply"], Value::Null);
}

#[test]
fn a_failure_prints_no_json() {
    for arguments in ["day", "sum 1", "sum -", ""] {
        let server = replying(b"\x1b[31mSaturday\n");
        let mut command = client(&format!("--json --server {server} {arguments}"));
        let outcome = run_with_input(&mut command, "1\n");
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(5), ""));
        let start = format!("chime-client: {server}: unknown reply '\\x1b[31mSaturday'");
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
    }
}

#[test]
fn verbose_prints_each_step() {
    let server = chime_tcp();
    let connected = &*format!("connected to {server}");
    let welcomed = "welcomed with 'Welcome to the server'";
    let piped = "replied, since the welcome,";
    for (arguments, replies) in [
        ("day", &["replied"][..]),
        ("sum 12345", &["replied"]),
        ("sum -", &["replied"]),
        ("", &[piped]),
    ] {
        let mut command = client(&format!("--verbose --server {server} {arguments}"));
        let outcome = run_with_input(&mut command, "789");
        assert_eq!(steps(&outcome), [&[connected, welcomed], replies].concat());
        assert_eq!(
            (outcome.exit_code, outcome.stdout.lines().count()),
            (Some(0), 1)
        );
    }
    let server = chime_udp();
    let outcome = run(&format!("-v --udp --server {server} day"));
    assert_eq!(steps(&outcome), [&*format!("reply from {server}")]);
    assert_eq!(outcome.stdout, "Saturday\n");
}

#[test]
fn verbose_prints_the_steps_before_a_failure() {
    let server = sending(b"SSH-2.0-OpenSSH_10.0\r\n", false);
    let outcome = run(&format!("--verbose --server {server} day"));
    assert_eq!(outcome.exit_code, Some(5));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    let connected = format!("chime-client: connected to {server} in ");
    assert!(lines[0].starts_with(&connected), "{outcome:?}");
    let failure = format!("chime-client: {server}: unknown reply 'SSH-2.0");
    assert!(lines[1].starts_with(&failure), "{outcome:?}");
    assert_eq!(lines.len(), 2, "{outcome:?}");
}

#[test]
fn bench_and_ping_reject_verbose() {
    for command in ["bench", "ping"] {
        let outcome = run(&format!("{command} --verbose"));
        assert_eq!(outcome.exit_code, Some(2));
        assert!(
            outcome.stderr.starts_with("error: --verbose "),
            "{outcome:?}"
        );
    }
}
