//! What the options make of the output: objects for scripts, and steps for those who look for a fault.

use std::net::SocketAddr;

use chime_protocol::{Framing, Service};
use serde_json::{Value, json};

use crate::stand_in::{answering, chime, chime_over_udp, saying};
use crate::{Ended, client, run, run_with_input};

/// The object that answers what was asked.
fn object(request: Option<&str>, reply: &str, sum: Option<u64>, is_error: bool) -> Value {
    json!({ "request": request, "reply": reply, "sum": sum, "is_error": is_error })
}

/// The objects on standard output, which has one on each line.
#[track_caller]
fn objects(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The lines of standard error, without their times, which come last.
#[track_caller]
fn steps(ended: &Ended) -> Vec<&str> {
    let lines = ended.stderr.lines();
    lines
        .map(|line| {
            let (step, time) = line.rsplit_once(" in ").expect("a time");
            assert!(time.ends_with('s') && time.starts_with(|digit: char| digit.is_ascii_digit()));
            step.strip_prefix("chime-client: ").expect("a name")
        })
        .collect()
}

fn chime_over_tcp() -> SocketAddr {
    chime(Service::Both, Framing::Line)
}

#[test]
fn an_answer_is_an_object_for_scripts() {
    let server = chime_over_tcp();
    let now = "2026-11-21 06:32:06.123456";
    for (arguments, request, reply, sum) in [
        ("day", Some("day"), "Saturday", None),
        ("date", Some("date"), "26-11-21", None),
        ("time", Some("time"), "06:32:06", None),
        ("now", Some("send time"), now, None),
        ("sum 0012345", Some("0012345"), "15", Some(15)),
        ("sum -", None, "24", Some(24)),
        ("", None, "24", Some(24)),
    ] {
        let mut command = client(&format!("{arguments} --json --server {server}"));
        let ended = run_with_input(&mut command, "789\n");
        let expected = object(request, reply, sum, false);
        assert_eq!(objects(&ended), [expected], "{arguments}: {ended:?}");
        assert_eq!((ended.exit_code, &*ended.stderr), (Some(0), ""));
    }
    let ended = run(&format!("--udp --json --server {} day", chime_over_udp()));
    let expected = object(Some("day"), "Saturday", None, false);
    assert_eq!(objects(&ended), [expected]);
}

#[test]
fn each_line_of_a_pipe_is_an_object() {
    let mut command = client(&format!("--json --server {}", chime_over_tcp()));
    let ended = run_with_input(&mut command, "day\nwhat?\n18446744073709551615\n");
    let expected = [
        object(None, "Saturday", None, false),
        object(None, "You entered an invalid command", None, true),
        object(None, "87", Some(87), false),
    ];
    assert_eq!(objects(&ended), expected);
    assert_eq!((ended.exit_code, &*ended.stderr), (Some(1), ""));
}

#[test]
fn an_error_of_the_server_is_an_object_with_exit_code_1() {
    let mut command = client(&format!("--json --server {} send", chime_over_tcp()));
    let ended = run_with_input(command.arg("\"\x1b\""), "");
    let request = Some("\"\x1b\"");
    let expected = object(request, "You entered an invalid command", None, true);
    assert_eq!(objects(&ended), [expected]);
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
    assert_eq!((ended.exit_code, &*ended.stderr), (Some(1), ""));
}

#[test]
fn no_reply_is_null() {
    let server = chime(Service::DateTime, Framing::Line);
    let ended = run(&format!("--json --server {server} send quit"));
    assert_eq!(ended.exit_code, Some(0));
    assert_eq!(objects(&ended)[0]["reply"], Value::Null);
}

#[test]
fn a_failure_is_no_object() {
    for arguments in ["day", "sum 1", "sum -", ""] {
        let server = answering(b"\x1b[31mSaturday\n");
        let mut command = client(&format!("--json --server {server} {arguments}"));
        let ended = run_with_input(&mut command, "1\n");
        assert_eq!((ended.exit_code, &*ended.stdout), (Some(5), ""));
        let start = format!("chime-client: {server}: unknown reply '\\x1b[31mSaturday'");
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
    }
}

#[test]
fn each_step_is_told_on_request() {
    let server = chime_over_tcp();
    let connected = &*format!("connected to {server}");
    let welcomed = "welcomed with 'Welcome to the server'";
    let piped = "replied, since the welcome,";
    for (arguments, answers) in [
        ("day", &["replied"][..]),
        ("sum 12345", &["replied"]),
        ("sum -", &["replied"]),
        ("", &[piped]),
    ] {
        let mut command = client(&format!("--verbose --server {server} {arguments}"));
        let ended = run_with_input(&mut command, "789");
        assert_eq!(steps(&ended), [&[connected, welcomed], answers].concat());
        assert_eq!(
            (ended.exit_code, ended.stdout.lines().count()),
            (Some(0), 1)
        );
    }
    let server = chime_over_udp();
    let ended = run(&format!("-v --udp --server {server} day"));
    assert_eq!(steps(&ended), [&*format!("reply from {server}")]);
    assert_eq!(ended.stdout, "Saturday\n");
}

#[test]
fn the_steps_before_a_failure_are_told() {
    let server = saying(b"SSH-2.0-OpenSSH_10.0\r\n", false);
    let ended = run(&format!("--verbose --server {server} day"));
    assert_eq!(ended.exit_code, Some(5));
    let lines: Vec<_> = ended.stderr.lines().collect();
    let connected = format!("chime-client: connected to {server} in ");
    assert!(lines[0].starts_with(&connected), "{ended:?}");
    let failure = format!("chime-client: {server}: unknown reply 'SSH-2.0");
    assert!(lines[1].starts_with(&failure), "{ended:?}");
    assert_eq!(lines.len(), 2, "{ended:?}");
}

#[test]
fn a_load_tells_no_steps() {
    let ended = run("bench --verbose");
    assert_eq!(ended.exit_code, Some(2));
    assert!(ended.stderr.starts_with("error: --verbose "), "{ended:?}");
}
