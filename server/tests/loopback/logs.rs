//! The log: formats, content, and warnings about the time zone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{ServerProcess, command, retry_interrupted};

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
