//! The log: formats, content, and warnings about the time zone.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    ServerProcess, command, read_line, retry_interrupted, wait_until, write_until_blocked,
};

#[test]
fn the_json_log_is_one_object_per_line() {
    let server = ServerProcess::start(&["--log-format", "json", "--log", "trace"]);
    let reply = server.replies_to("day\n");
    assert!(reply.starts_with("Welcome"), "{reply}");
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let records = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let records: Vec<Value> = records.collect();
    let last = records.last().expect("the shutdown is logged");
    assert_eq!(last["level"], "INFO");
    let message = last["message"].as_str().expect("text");
    assert!(
        message.starts_with("stopped: connections: 1 served"),
        "{message}"
    );
}

#[test]
fn startup_errors_follow_the_log_format() {
    let server = ServerProcess::start(&[]);
    let address = server.tcp[0].to_string();
    let flags = ["--tcp", &address, "--no-udp", "--log-format", "json"];
    let output = command(&flags).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let record: Value = serde_json::from_slice(&output.stderr).expect("one record");
    assert_eq!(record["level"], "ERROR");
    let message = record["message"].as_str().expect("text");
    assert!(message.starts_with("cannot bind tcp "), "{message}");
}

#[test]
fn startup_errors_are_plain_lines_without_a_log() {
    let server = ServerProcess::start(&[]);
    let address = server.tcp[0].to_string();
    let flags = ["--tcp", &address, "--log", "off", "--log-format", "json"];
    let output = command(&flags).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("chime-server: cannot bind"), "{error}");
}

/// Stops a server, and returns the records of its log in JSON.
fn records_of(server: ServerProcess) -> Vec<Value> {
    server.signal(Signal::SIGTERM);
    let (_, log) = server.wait();
    let records = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    records.collect()
}

/// Returns the records with this message.
fn with_message<'a>(records: &'a [Value], message: &str) -> Vec<&'a Value> {
    let records = records.iter();
    records
        .filter(|record| record["message"] == message)
        .collect()
}

#[test]
fn the_trace_log_tells_what_each_connection_did() {
    let flags = [
        "--log",
        "trace",
        "--log-format",
        "json",
        "--max-connections",
        "1",
    ];
    let server = ServerProcess::start(&flags);
    let client = server.connect();
    let address = client.local_addr().expect("an address").to_string();
    read_line(&client);
    // The server is full.
    assert!(server.replies_to("").starts_with("The server is full"));
    drop(client);
    wait_until("the server is not full", || {
        server
            .replies_to("day\n12\n7\nwhat?\nquit\n")
            .starts_with("Welcome")
    });
    let records = records_of(server);
    let (opened, closed) = (
        with_message(&records, "opened"),
        with_message(&records, "closed"),
    );
    assert_eq!(opened.len(), closed.len());
    assert_eq!(opened[0]["client"], address);
    let close_of = |number: &Value| {
        let mut closed = closed
            .iter()
            .filter(|record| record["connection"] == *number);
        closed.next().expect("each connection is closed")
    };
    let first = close_of(&opened[0]["connection"]);
    assert_eq!(first["client"], address);
    assert_eq!(first["sent_bytes"], "Welcome to the server\n".len());
    assert_eq!(
        (&first["received_bytes"], &first["requests"]),
        (&0.into(), &0.into())
    );
    assert!(first["seconds"].as_f64() > Some(0.0));
    assert_eq!(close_of(&opened[1]["connection"])["reason"], "refused");
    let last = close_of(&opened[opened.len() - 1]["connection"]);
    assert_eq!(
        (&last["requests"], &last["received_bytes"]),
        (&5.into(), &20.into())
    );
    assert_eq!(last["reason"], "ended");
    let requests = with_message(&records, "requests");
    let of_last = requests
        .iter()
        .filter(|record| record["connection"] == last["connection"]);
    let mut counts: Vec<_> = of_last
        .map(|record| {
            (
                record["kind"].as_str().expect("a name"),
                record["count"].as_u64(),
            )
        })
        .collect();
    counts.sort_unstable();
    // The line may arrive in several reads.
    let digits: u64 = counts
        .iter()
        .filter(|(kind, _)| *kind == "digits")
        .filter_map(|(_, count)| *count)
        .sum();
    counts.dedup_by_key(|(kind, _)| *kind);
    let kinds: Vec<_> = counts.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        (kinds, digits),
        (vec!["day", "digits", "invalid", "quit"], 2)
    );
}

#[test]
fn the_access_log_has_an_object_for_each_connection_and_its_reason() {
    for level in ["off", "info"] {
        let flags = [
            "--log",
            level,
            "--log-format",
            "access",
            "--line-timeout",
            "100ms",
        ];
        let server = ServerProcess::start(&[&flags[..], &["--drain-timeout", "100ms"]].concat());
        server.replies_to("quit\n");
        let mut slow = server.connect();
        slow.write_all(b"1").expect("sent");
        // The server may reset the connection.
        let _ = slow.read_to_end(&mut Vec::new());
        let mut unread = server.connect();
        write_until_blocked(&mut unread, &b"help\n".repeat(1_000_000));
        let records = records_of(server);
        let reasons: Vec<_> = with_message(&records, "closed")
            .iter()
            .map(|record| record["reason"].as_str().expect("text"))
            .collect();
        assert_eq!(reasons, ["ended", "slow_line", "cut"]);
        assert_eq!(
            records.len() == reasons.len(),
            level == "off",
            "{records:?}"
        );
        assert!(with_message(&records, "opened").is_empty());
    }
}

#[test]
fn client_data_is_not_logged() {
    for format in ["text", "json"] {
        let server = ServerProcess::start(&["--log-format", format, "--log", "trace"]);
        server.replies_to("xyzzy\n98765432109\nxyzzy\0");
        let socket = server.udp_client();
        socket.send(b"xyzzy").expect("sent");
        socket.send(b"day").expect("sent");
        let mut reply = [0; 64];
        // Datagrams of one socket arrive in order, so the first has been received too.
        retry_interrupted(|| socket.recv(&mut reply)).expect("a reply");
        server.signal(Signal::SIGTERM);
        let (_, log) = server.wait();
        assert!(log.contains("stopped: connections: 1 served"), "{log}");
        assert!(
            !log.contains("xyzzy") && !log.contains("98765432109"),
            "{log}"
        );
    }
}

/// Returns the log of a server that runs in this time zone.
fn log_in_zone(zone: &OsStr) -> String {
    let mut command = command(&["--tcp", "127.0.0.1:0", "--no-udp"]);
    let server = ServerProcess::spawn(command.env("TZ", zone), 1);
    server.signal(Signal::SIGTERM);
    server.wait().1
}

#[test]
fn an_unknown_time_zone_is_logged() {
    for zone in [
        "CET-1CEST",
        "Nowhere/Atall",
        ":Nowhere/Atall",
        "1",
        "CET-1CEST,M3.5.0",
    ] {
        let log = log_in_zone(zone.as_ref());
        let expected = format!("unknown time zone TZ={zone:?}");
        assert!(log.contains(&expected), "{zone}: {log}");
    }
    let log = log_in_zone(OsStr::from_bytes(b"\xff"));
    assert!(log.contains("unknown time zone"), "{log}");
}

#[test]
fn a_known_time_zone_is_not_logged() {
    let mut zones = vec![
        "",
        "UTC0",
        "CET-1",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+0330>-3:30",
        " UTC0 ",
    ];
    // Only the files that exist on this machine.
    let files = [
        "UTC",
        "Europe/Berlin",
        "Asia/Kathmandu",
        ":America/New_York",
        "localtime",
    ];
    let folder = Path::new("/usr/share/zoneinfo");
    zones.extend(
        files
            .iter()
            .filter(|name| folder.join(name.trim_start_matches(':')).exists()),
    );
    for zone in zones {
        let log = log_in_zone(zone.as_ref());
        assert!(!log.contains("time zone"), "{zone}: {log}");
    }
}
