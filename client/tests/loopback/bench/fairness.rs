//! Connections that are served unevenly, fail in different ways, or have many requests in flight.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use serde_json::Value;

use super::{bench, bench_ok, reply_to_each};
use crate::servers::{WELCOME, chime, replying_slowly, tcp};

/// Sends the welcome to every client, and calls `serve` with its number and stream on a thread of its own.
fn serving_each(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a client");
            stream.write_all(WELCOME).expect("the client reads");
            let serve = serve.clone();
            thread::spawn(move || serve(number, stream));
        }
    });
    server
}

fn reply_to_all(stream: TcpStream) {
    reply_to_each(stream, |_, mut stream| {
        let _ = stream.write_all(b"Saturday\n");
    });
}

/// Reads requests until the client closes, and never replies.
fn never_reply(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[track_caller]
fn number(report: &Value, name: &str) -> f64 {
    let number = report[name].as_f64();
    number.unwrap_or_else(|| panic!("{name} is not a number: {report:#}"))
}

#[test]
fn a_starved_connection_shows_in_the_report() {
    let server = serving_each(|number, stream| match number {
        0 => never_reply(stream),
        _ => reply_to_all(stream),
    });
    let options = "--connections 4 --requests 4 --timeout 500ms";
    let (outcome, report) = bench(server, options);
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    assert_eq!(report["requests"], 3);
    assert_eq!(report["unanswered"], 1);
    assert_eq!(report["replies_per_connection_min"], 0);
    assert_eq!(report["replies_per_connection_max"], 1);
    assert_eq!(report["fairness"], 0.75);
    // One of four requests has no reply: its age counts.
    assert!(number(&report, "latency_p90_us") >= 500e3, "{report:#}");
    assert!(number(&report, "latency_max_us") >= 500e3, "{report:#}");
}

#[test]
fn a_connection_served_late_shows_in_the_report() {
    const TIME_TO_SEND: Duration = Duration::from_millis(200);
    let server = serving_each(|number, stream| {
        let mut stall = match number {
            0 => 2 * TIME_TO_SEND,
            _ => Duration::ZERO,
        };
        reply_to_each(stream, |_, mut stream| {
            thread::sleep(std::mem::take(&mut stall));
            let _ = stream.write_all(b"Saturday\n");
        });
    });
    let report = bench_ok(server, "--connections 3 --duration 200ms --warm-up 0s");
    assert_eq!(report["replies_per_connection_min"], 0);
    assert!(number(&report, "replies_per_connection_max") > 0.0);
    let fairness = number(&report, "fairness");
    assert!((0.333..0.667).contains(&fairness), "{report:#}");
    assert!(number(&report, "latency_max_us") >= 400e3, "{report:#}");
}

#[test]
fn connections_served_evenly_have_an_index_of_1() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_ok(server, "--connections 4 --in-flight 5 --requests 20");
    assert_eq!(report["replies_per_connection_min"], 5);
    assert_eq!(report["replies_per_connection_max"], 5);
    assert_eq!(report["fairness"], 1.0);
}

#[test]
fn replies_of_the_warm_up_do_not_count() {
    let server = chime(Service::Both, Framing::Line);
    let options = "--connections 1 --duration 100ms --warm-up 400ms";
    let report = bench_ok(server, options);
    let most = number(&report, "replies_per_connection_max");
    assert!(most <= number(&report, "requests"), "{report:#}");
}

#[test]
fn an_open_loop_has_no_fairness() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_ok(server, "--connections 2 --rate 1000 --requests 10");
    for name in [
        "replies_per_connection_min",
        "replies_per_connection_max",
        "fairness",
    ] {
        assert_eq!(report.get(name), Some(&Value::Null), "{name}");
    }
}

#[test]
fn the_age_of_a_lost_datagram_counts() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let server = silent.local_addr().expect("a bound socket");
    let options = "--udp --connections 1 --requests 1 --timeout 200ms";
    let (_, report) = bench(server, options);
    assert_eq!(report["requests"], 0);
    assert_eq!(report["lost"], 1);
    assert_eq!(report["fairness"], Value::Null);
    assert!(number(&report, "latency_min_us") >= 199e3, "{report:#}");
}

#[test]
fn each_kind_of_failure_in_a_run_is_counted() {
    let server = serving_each(|number, mut stream| match number {
        0 => never_reply(stream),
        1 => drop(stream.read_exact(&mut [0; 4])),
        2 => {
            let _ = stream.read_exact(&mut [0; 4]);
            let _ = stream.write_all(b"Saturday\nSaturday\nSaturday\n");
            never_reply(stream);
        }
        _ => reply_to_all(stream),
    });
    let options = "--connections 4 --duration 100ms --warm-up 0s --timeout 2s";
    let (_, report) = bench(server, options);
    for kind in ["timed_out", "closed", "excess"] {
        assert_eq!(report["errors"][kind], 1, "{kind}: {report:#}");
    }
    assert_eq!(report["errors"]["connect"], 0);
    // The request on the connection with excess replies has a reply.
    assert_eq!(report["unanswered"], 2, "{report:#}");
    assert!(number(&report, "latency_max_us") >= 2e6, "{report:#}");
}

#[test]
fn the_exit_code_is_that_of_the_first_failure() {
    let (starved_ended, starved_end) = mpsc::channel();
    let starved_end = std::sync::Arc::new(std::sync::Mutex::new(starved_end));
    let server = serving_each(move |number, stream| match number {
        0 => {
            never_reply(stream);
            let _ = starved_ended.send(());
        }
        // Replies until the other connection has timed out, then closes.
        _ => {
            let starved_end = starved_end.lock().expect("one client");
            let mut lines = BufReader::new(&stream).lines();
            while let Some(Ok(_)) = lines.next() {
                if starved_end.try_recv().is_ok() {
                    return;
                }
                let _ = (&stream).write_all(b"Saturday\n");
            }
        }
    });
    let options = "--connections 2 --duration 20s --warm-up 0s --timeout 500ms";
    let (outcome, report) = bench(server, options);
    assert_eq!(outcome.exit_code, Some(4), "{report:#}");
    assert_eq!(report["errors"]["timed_out"], 1, "{report:#}");
    assert_eq!(report["errors"]["closed"], 1, "{report:#}");
}

#[test]
fn an_open_loop_has_every_due_request_in_flight() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        stream.read_exact(&mut [0; 300 * 4]).expect("all requests");
        let _ = stream.write_all(&b"Saturday\n".repeat(300));
        never_reply(stream);
    });
    let options = "--connections 1 --rate 1000 --in-flight 300 --requests 300";
    let report = bench_ok(server, options);
    assert_eq!(report["requests"], 300);
    assert_eq!(report["unsent"], 0);
    // A request is due each millisecond, and the first reply follows the last request.
    for (name, milliseconds) in [
        ("latency_p50_us", 149.0),
        ("latency_p90_us", 268.0),
        ("latency_max_us", 298.0),
    ] {
        assert!(number(&report, name) >= milliseconds * 1e3, "{report:#}");
    }
}

#[test]
fn neither_slow_bytes_nor_further_requests_extend_the_deadline_of_a_reply() {
    let server = replying_slowly(b"Saturday\n");
    // If the deadline were extended, this would run for a minute.
    let options = "--connections 1 --rate 100 --in-flight 100000 --duration 1m --warm-up 0s";
    let (outcome, report) = bench(server, &format!("{options} --timeout 300ms"));
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    assert_eq!(report["requests"], 0);
    assert_eq!(report["errors"]["timed_out"], 1);
    assert!(number(&report, "latency_max_us") >= 300e3, "{report:#}");
}
