//! The load generator: requests sent, counters, and failures.
//!
//! All time bounds are lower bounds, which hold on a machine of any speed.

mod failures;
mod fairness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use serde_json::Value;

use crate::servers::{WELCOME, chime, chime_udp, tcp};
#[cfg(unix)]
use crate::terminal::{self, Terminal};
use crate::{Outcome, TEST_TIMEOUT, client, run, run_with_input};

/// Runs `bench` with the options, and returns its outcome and report.
#[track_caller]
fn bench(server: SocketAddr, options: &str) -> (Outcome, Value) {
    let outcome = run(&format!("bench --json --server {server} {options}"));
    let report = serde_json::from_str(&outcome.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (outcome, report)
}

/// Runs `bench` with the options, asserts that nothing failed, and returns its report.
#[track_caller]
fn bench_ok(server: SocketAddr, options: &str) -> Value {
    let (outcome, report) = bench(server, options);
    assert_eq!(
        (outcome.exit_code, &*outcome.stderr),
        (Some(0), ""),
        "{report:#}"
    );
    for name in ["connect", "closed", "timed_out", "excess"] {
        assert_eq!(report["errors"][name], 0, "{report:#}");
    }
    assert_eq!(report["unanswered"], 0, "{report:#}");
    report
}

/// Reads lines and calls `reply` for each, until EOF.
fn reply_to_each(stream: TcpStream, mut reply: impl FnMut(&str, &TcpStream)) {
    let mut lines = BufReader::new(stream.try_clone().expect("a clone"));
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        reply(&line, &stream);
        line.clear();
    }
}

#[test]
fn every_reply_to_a_number_of_requests_is_counted() {
    for options in [
        "--connections 1",
        "--connections 10",
        "--connections 10 --in-flight 7",
        "--connections 10 --in-flight 5000",
        "--connections 3 --rate 100000",
        "--connections 3 --in-flight 100 --rate 1000000000",
    ] {
        let server = chime(Service::Both, Framing::Line);
        let report = bench_ok(server, &format!("--requests 1003 {options}"));
        assert_eq!(report["requests"], 1003, "{options}");
        assert_eq!(report["bytes_sent"], 1003 * 4, "{options}");
        assert_eq!(report["bytes_received"], 1003 * 9, "{options}");
        assert_eq!(report["unsent"], 0, "{options}");
    }
}

#[test]
fn sending_stops_after_the_duration() {
    let server = chime(Service::Both, Framing::Line);
    let options = "--connections 2 --duration 100ms --warm-up 10ms";
    let report = bench_ok(server, options);
    assert!(report["requests"].as_u64() > Some(0), "{report:#}");
    assert!(report["seconds"].as_f64() >= Some(0.1), "{report:#}");
}

#[test]
fn the_number_of_requests_in_flight_is_as_configured() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        let mut buffer = [0; 64];
        // The limit at once, without a reply; then one request for each reply.
        let length = stream.read(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *b"day\n".repeat(7));
        for replies in [1, 2, 3, 7] {
            stream.write_all(&b"Saturday\n".repeat(replies)).unwrap();
            let length = stream.read(&mut buffer).unwrap();
            assert_eq!(buffer[..length], *b"day\n".repeat(replies));
        }
        stream.write_all(&b"Saturday\n".repeat(7)).unwrap();
        let _ = stream.read(&mut buffer);
    });
    let options = "--connections 1 --in-flight 7 --requests 20";
    assert_eq!(bench_ok(server, options)["requests"], 20);
}

#[test]
fn an_open_loop_sends_no_request_before_it_is_due() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_ok(server, "--connections 3 --rate 1000 --requests 50");
    assert_eq!(report["requests"], 50);
    assert!(report["seconds"].as_f64() >= Some(0.05), "{report:#}");

    // The number of requests is the rate times the duration, on a machine of any speed.
    let options = "--connections 3 --rate 500 --duration 200ms --warm-up 10ms";
    assert_eq!(bench_ok(server, options)["requests"], 100);
}

#[test]
fn a_stall_counts_against_every_request_due_meanwhile() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        let mut stall = Duration::from_millis(300);
        reply_to_each(stream, |_, mut stream| {
            thread::sleep(std::mem::take(&mut stall));
            stream.write_all(b"Saturday\n").unwrap();
        });
    });
    // A request is due each millisecond: of 1000 requests, 200 wait for 100 ms or more.
    let options = "--connections 1 --rate 1000 --requests 1000";
    let report = bench_ok(server, options);
    for (name, milliseconds) in [
        ("latency_p90_us", 195.0),
        ("latency_p99_us", 285.0),
        ("latency_max_us", 300.0),
    ] {
        let latency = report[name].as_f64().unwrap();
        assert!(latency >= milliseconds * 1e3, "{name}: {report:#}");
    }
}

#[test]
fn datagrams_are_counted() {
    let server = chime_udp();
    for options in ["", "--in-flight 4", "--rate 10000"] {
        let options = format!("--udp --connections 3 --requests 500 {options}");
        let report = bench_ok(server, &options);
        assert_eq!(report["transport"], "udp");
        assert_eq!(report["requests"], 500, "{options}");
        assert_eq!(report["lost"], 0, "{options}");
        assert_eq!(report["bytes_sent"], 500 * 3, "{options}");
        assert_eq!(report["bytes_received"], 500 * 8, "{options}");
    }
}

#[test]
fn lost_datagrams_are_counted() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    thread::spawn(move || {
        loop {
            let (_, lost) = socket.recv_from(&mut [0; 64]).unwrap();
            let (_, client) = socket.recv_from(&mut [0; 64]).unwrap();
            assert_ne!(lost, client, "a late reply would count for another request");
            socket.send_to(b"Saturday", client).unwrap();
        }
    });
    let options = "--udp --connections 1 --requests 4 --timeout 500ms";
    let report = bench_ok(server, options);
    assert_eq!(
        (&report["requests"], &report["lost"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn churn_opens_a_connection_for_each_request() {
    for greeting in [WELCOME, b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let (sender, request_logs) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // The first connection is the probe, which sends no request.
                let _ = stream.write_all(greeting);
                let mut requests = String::new();
                reply_to_each(stream, |line, mut stream| {
                    requests.push_str(line);
                    stream.write_all(b"Saturday\n").unwrap();
                });
                sender.send(requests).unwrap();
            }
        });
        let lines = if greeting.is_empty() { 0 } else { 1 };
        let options = format!("--churn --connections 1 --requests 9 --greeting-lines {lines}");
        assert_eq!(bench_ok(server, &options)["requests"], 9);
        let next = || request_logs.recv_timeout(TEST_TIMEOUT).unwrap();
        assert_eq!(next(), "");
        for _ in 0..9 {
            assert_eq!(next(), "day\n");
        }
    }
    let server = chime(Service::Both, Framing::Line);
    let options = "--churn --connections 4 --requests 200";
    assert_eq!(bench_ok(server, options)["requests"], 200);
}

#[test]
fn churn_accepts_a_reply_before_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The first connection is the probe, which sends no request.
            let _ = stream.unwrap().write_all(b"Saturday\n");
        }
    });
    let options = "--churn --connections 2 --requests 100 --greeting-lines 0";
    assert_eq!(bench_ok(server, options)["requests"], 100);
}

#[test]
fn a_slow_server_has_the_timeout_for_each_reply() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        reply_to_each(stream, |_, mut stream| {
            thread::sleep(Duration::from_millis(200));
            stream.write_all(b"Saturday\n").unwrap();
        });
    });
    let options = "--connections 1 --in-flight 3 --requests 12 --timeout 2s";
    let report = bench_ok(server, options);
    assert_eq!(report["requests"], 12);
    assert!(report["seconds"].as_f64() >= Some(2.4), "{report:#}");
}

#[test]
fn any_line_protocol_can_be_loaded() {
    let server = tcp(|stream| {
        reply_to_each(stream, |line, mut stream| {
            assert_eq!(line, "get x\n");
            for piece in ["VALUE x\n1", "\nEND", "\n"] {
                stream.write_all(piece.as_bytes()).unwrap();
            }
        });
    });
    let options = "--connections 1 --in-flight 3 --requests 100 --greeting-lines 0 --reply-lines 3";
    let mut command = client(&format!(
        "bench --json --server {server} {options} --request"
    ));
    let outcome = run_with_input(command.arg("get x"), "");
    assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["requests"], 100);
    assert_eq!(report["request"], "get x");
}

#[test]
fn a_long_request_is_written_whole() {
    let server = chime(Service::Both, Framing::Line);
    let digits = "9".repeat(100_000);
    let options = "--connections 2 --in-flight 50 --requests 200 --request";
    let mut command = client(&format!("bench --json --server {server} {options}"));
    let outcome = run_with_input(command.arg(digits), "");
    assert_eq!(outcome.exit_code, Some(0), "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["requests"], 200);
    assert_eq!(report["bytes_received"], 200 * "900000\n".len());
}

#[test]
fn the_default_report_is_text() {
    let server = chime(Service::Both, Framing::Line);
    let outcome = run(&format!(
        "bench --server {server} --connections 2 --in-flight 5 --requests 10"
    ));
    assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(0), ""));
    let names: Vec<_> = outcome
        .stdout
        .lines()
        .map(|line| line.split_whitespace())
        .collect();
    let names: Vec<_> = names
        .into_iter()
        .filter_map(|mut words| words.next())
        .filter(|name| *name != "to")
        .collect();
    let expected = [
        "load",
        "requests",
        "bytes",
        "latency",
        "mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "histogram",
        "fairness",
        "errors",
    ];
    assert_eq!(names, expected, "{}", outcome.stdout);
    let start = format!(
        "load      TCP {server}, 2 connections, 5 in flight on each, 10 requests: 'day'\nrequests  10 in "
    );
    assert!(outcome.stdout.starts_with(&start), "{}", outcome.stdout);
    assert!(
        outcome
            .stdout
            .ends_with("\nfairness  1.000, 5 to 5 replies a connection\nerrors    none\n"),
        "{}",
        outcome.stdout
    );
}

#[cfg(unix)]
#[test]
fn a_progress_bar_is_shown_on_a_terminal_and_cleared() {
    let (seen, is_seen) = mpsc::channel::<()>();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        for _ in 0..2 {
            stream.read_exact(&mut [0; 4]).expect("the client writes");
            stream.write_all(b"Saturday\n").expect("the client reads");
            // Until the bar has been seen.
            let _ = is_seen.recv();
        }
    });
    let arguments = format!("--server {server} bench --connections 1 --requests 2");
    let mut terminal = Terminal::start(terminal::client(&arguments, "a_bench"));
    terminal.wait_for("a bar with a rate", |lines| {
        let bar = lines.last().and_then(|line| line.split_once("measuring ["));
        bar.is_some_and(|(_, bar)| bar.contains("] 1/2, ") && bar.ends_with(" a second"))
    });
    drop(seen);
    let (exit_code, screen) = terminal.wait();
    assert_eq!(exit_code, Some(0));
    assert!(screen.starts_with("load      TCP "), "{screen}");
    assert!(screen.contains("\nrequests  2 in "), "{screen}");
    assert!(screen.ends_with("errors    none"), "{screen}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_load_with_a_report() {
    let server = chime(Service::Both, Framing::Line);
    for (during, load) in [
        ("warm-up", "--duration 1h --warm-up 1h"),
        ("measuring", "--duration 1h --warm-up 0s"),
        ("measuring", "--duration 1h --warm-up 0s --rate 10"),
        ("measuring", "--requests 1000000000"),
    ] {
        let arguments = format!("--server {server} bench --connections 2 {load}");
        let mut terminal = Terminal::start(terminal::client(&arguments, "an_interrupted_bench"));
        terminal.wait_for("a bar", |lines| {
            let bar = format!("{during} [");
            lines.last().is_some_and(|line| line.contains(&bar))
        });
        terminal.press(terminal::CTRL_C);
        let (exit_code, screen) = terminal.wait();
        assert_eq!(exit_code, Some(0), "{screen}");
        assert!(screen.contains("\nrequests  "), "{screen}");
        // No request counts as unsent.
        assert!(screen.ends_with("errors    none"), "{screen}");
    }
}

#[test]
fn the_first_line_says_what_is_run() {
    let server = chime(Service::Both, Framing::Line);
    for (options, load) in [
        (
            "--connections 1 --requests 1000 --rate 100000 --request",
            "1 connection, 1 in flight on each, 1,000 requests, 100,000 a second: 'time'",
        ),
        (
            "--connections 3 --churn --duration 10ms --warm-up 1ms --request",
            "3 connections, each for one request, 10ms after 1ms of warm-up: 'time'",
        ),
        (
            "--connections 1 --in-flight 1000 --duration 10ms --warm-up 0s --request",
            "1 connection, 1,000 in flight on each, 10ms: 'time'",
        ),
    ] {
        let outcome = run(&format!("--server {server} bench {options} time"));
        let first = outcome.stdout.lines().next();
        assert_eq!(first, Some(&*format!("load      TCP {server}, {load}")));
    }
}

#[test]
fn help_documents_each_name_of_the_report_and_its_unit() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_ok(server, "--connections 1 --requests 1");
    let outcome = run("bench --help");
    assert_eq!(outcome.exit_code, Some(0));
    let (_, documented) = outcome.stdout.split_once("With --json").unwrap();
    for name in report.as_object().unwrap().keys() {
        assert!(documented.contains(name), "{name}");
    }
    for unit in ["microseconds", "requests a second", "bytes"] {
        assert!(documented.contains(unit), "{unit}");
    }
}
