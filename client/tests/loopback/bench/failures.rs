//! Loads that fail: counters, messages and exit codes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::thread;

use chime_protocol::{Framing, Service};

use super::{bench, bench_ok};
use crate::run;
use crate::servers::{WELCOME, chime, replying, sending, tcp, write_slowly};

#[test]
fn requests_beyond_the_in_flight_limit_are_unsent() {
    let server = sending(WELCOME, false);
    let options = "--connections 1 --in-flight 2 --rate 1000 --duration 50ms --warm-up 0s";
    let (outcome, report) = bench(server, &format!("{options} --timeout 200ms"));
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    assert_eq!(report["requests"], 0);
    assert_eq!(report["errors"]["timed_out"], 1);
    assert_eq!(report["unanswered"], 2);
    assert_eq!(report["unsent"], 48);
    // The age of the two requests that were sent.
    assert!(
        report["latency_min_us"].as_f64() >= Some(198e3),
        "{report:#}"
    );
}

#[test]
fn datagrams_without_a_reply_are_lost() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    // A lost datagram is not waited for longer than 1 s.
    for (options, timeout) in [("--timeout 50ms", "50ms"), ("", "1s")] {
        let options = format!("--udp --connections 2 --in-flight 4 --requests 7 {options}");
        let (outcome, report) = bench(server, &options);
        assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
        assert_eq!(
            (&report["requests"], &report["lost"]),
            (&0.into(), &7.into())
        );
        let start = format!("chime-client: {server}: no reply within {timeout}; ");
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
        // Not the timeout of TCP, 10 s.
        let age = report["latency_max_us"].as_f64();
        assert!(age < Some(9e6), "{report:#}");
    }
}

#[test]
fn a_server_that_stops_is_reported_in_the_words_of_udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    let reader = thread::spawn(move || socket.recv(&mut [0; 3]));
    let options = "--udp --connections 1 --requests 2 --timeout 1s";
    let outcome = run(&format!("bench --server {server} {options}"));
    reader.join().unwrap().unwrap();
    let end = "errors    sockets that reached no server: 1
unanswered 1 request on them, which the server may not have received
lost      1 datagram without a reply
";
    assert!(outcome.stdout.ends_with(end), "{outcome:?}");
    assert_eq!(outcome.exit_code, Some(3), "{outcome:?}");
}

#[test]
fn a_close_before_a_reply_is_an_error() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        stream.read_exact(&mut [0; 5 * 4]).unwrap();
        stream.write_all(b"Saturday\nSaturday\nSat").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let options = "--connections 1 --in-flight 5 --requests 10";
    let (outcome, report) = bench(server, options);
    assert_eq!(outcome.exit_code, Some(3), "{outcome:?}");
    let start = format!("chime-client: {server}: the server closed the connection; ");
    assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
    assert_eq!(report["requests"], 2);
    assert_eq!(report["errors"]["closed"], 1);
    // Whether the two replies trigger new requests depends on when the client sees EOF.
    let [unanswered, unsent] = ["unanswered", "unsent"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(unanswered + unsent, 8, "{report:#}");
    assert!((3..=5).contains(&unanswered), "{report:#}");
}

#[test]
fn a_close_after_the_last_reply_is_not_an_error() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"Saturday\n").unwrap();
    });
    let report = bench_ok(server, "--connections 1 --requests 1");
    assert_eq!(report["requests"], 1);
}

#[test]
fn more_replies_than_requests_are_an_error() {
    let more = replying(b"Saturday\nSaturday\n");
    let (outcome, report) = bench(more, "--connections 1 --requests 1");
    assert_eq!(outcome.exit_code, Some(5), "{outcome:?}");
    assert_eq!(report["requests"], 1);
    assert_eq!(report["errors"]["excess"], 1);

    // An unexpected greeting.
    let server = chime(Service::Both, Framing::Line);
    let options = "--connections 1 --in-flight 2 --requests 2 --rate 10 --greeting-lines 0";
    let outcome = run(&format!("bench --server {server} {options}"));
    assert_eq!(outcome.exit_code, Some(5), "{outcome:?}");
    assert!(outcome.stderr.contains("--greeting-lines"), "{outcome:?}");
}

#[test]
fn a_missing_reply_is_an_error() {
    let server = replying(b"Satur");
    let (outcome, report) = bench(server, "--connections 1 --requests 2 --timeout 200ms");
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    assert_eq!(report["errors"]["timed_out"], 1);
    assert_eq!(report["unanswered"], 1);
    assert_eq!(report["unsent"], 1);
}

#[test]
fn the_text_report_counts_what_failed() {
    let options = "--connections 1 --in-flight 2 --requests 5 --timeout 200ms";
    let server = sending(WELCOME, false);
    let outcome = run(&format!("bench --server {server} {options}"));
    let end = "errors    connections that had no reply in time: 1
unanswered 2 requests on them, which the server may not have received
unsent    3 requests because every connection was at its limit
";
    assert!(outcome.stdout.ends_with(end), "{}", outcome.stdout);
}

#[test]
fn a_welcome_written_byte_by_byte_times_out_with_churn() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            thread::spawn(move || write_slowly(&mut stream, WELCOME));
        }
    });
    let options = "--churn --connections 2 --requests 2 --timeout 300ms";
    let (outcome, report) = bench(server, options);
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    assert_eq!(report["errors"]["timed_out"], 2, "{report:#}");
    assert_eq!(report["bytes_sent"], 0, "{report:#}");
}

#[test]
fn a_missing_greeting_is_reported() {
    let server = sending(b"Welcome", false);
    let outcome = run(&format!(
        "bench --server {server} --connections 1 --timeout 200ms"
    ));
    assert_eq!(
        (outcome.exit_code, &*outcome.stdout),
        (Some(4), ""),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("--greeting-lines 0"), "{outcome:?}");
}

#[test]
fn a_refused_connection_fails_the_load() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = free.local_addr().unwrap();
    drop(free);
    let start = format!("chime-client: cannot connect to {server}: connection refused; ");
    for options in ["", "--greeting-lines 0", "--churn", "--udp"] {
        let outcome = run(&format!("bench --server {server} --requests 9 {options}"));
        assert_eq!(outcome.exit_code, Some(3), "{options}: {outcome:?}");
        assert!(outcome.stderr.starts_with(&start), "{options}: {outcome:?}");
    }
}

#[test]
fn contradictory_options_are_a_usage_error() {
    for options in [
        "--connections 0",
        "--in-flight 0",
        "--in-flight 100001",
        "--rate 0",
        "--requests 0",
        "--duration 0s",
        "--duration soon",
        "--requests 1 --duration 1s",
        "--requests 1 --warm-up 1s",
        "--reply-lines 0",
        "--churn --in-flight 2",
        "--churn --udp",
        "--udp --greeting-lines 0",
    ] {
        let outcome = run(&format!("bench {options}"));
        assert_eq!(outcome.exit_code, Some(2), "{options}");
        assert!(outcome.stderr.starts_with("error: "), "{options}");
    }
    for arguments in ["--udp bench --churn", "day bench"] {
        assert_eq!(run(arguments).exit_code, Some(2), "{arguments}");
    }
}
