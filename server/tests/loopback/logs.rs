//! What is logged, and how.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Server, command};

#[test]
fn a_log_for_machines_is_json_in_each_line() {
    let server = Server::start(&["--log-format", "json", "--log", "trace"]);
    let reply = server.converse("day\n");
    assert!(reply.starts_with("Welcome"), "{reply}");
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let records = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let records: Vec<Value> = records.collect();
    let last = records.last().expect("the stop is logged");
    assert_eq!(last["level"], "INFO");
    let message = last["message"].as_str().expect("text");
    assert!(
        message.starts_with("stopped: 1 connections served"),
        "{message}"
    );
}

#[test]
fn a_failure_is_json_too_if_the_log_is() {
    let server = Server::start(&[]);
    let address = server.tcp[0].to_string();
    let flags = ["--tcp", &address, "--no-udp", "--log-format", "json"];
    let output = command(&flags).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let record: Value = serde_json::from_slice(&output.stderr).expect("one record");
    assert_eq!(record["level"], "ERROR");
    let message = record["message"].as_str().expect("text");
    assert!(message.starts_with("cannot listen on tcp "), "{message}");
}

#[test]
fn what_clients_send_is_not_logged() {
    for format in ["text", "json"] {
        let server = Server::start(&["--log-format", format, "--log", "trace"]);
        server.converse("xyzzy\n98765432109\nxyzzy\0");
        let socket = server.datagrams();
        socket.send(b"xyzzy").expect("sent");
        socket.send(b"day").expect("sent");
        let mut reply = [0; 64];
        // Datagrams of one socket come in order, so the first has been seen too.
        socket.recv(&mut reply).expect("a reply");
        server.signal(Signal::SIGTERM);
        let (_, log) = server.wait();
        assert!(log.contains("stopped: 1 connections served"), "{log}");
        assert!(
            !log.contains("xyzzy") && !log.contains("98765432109"),
            "{log}"
        );
    }
}
