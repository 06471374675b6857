//! Connections that are served unevenly, fail in different ways, or have many requests in flight.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use serde_json::Value;

use super::{answer_each, bench, bench_well};
use crate::stand_in::{WELCOME, chime, dripping, tcp};

/// Welcomes every client, and gives each to `serve` with its number, on a thread of its own.
fn serving_each(serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a client");
            stream.write_all(WELCOME).expect("the client takes it");
            let serve = serve.clone();
            thread::spawn(move || serve(number, stream));
        }
    });
    server
}

fn answer_all(stream: TcpStream) {
    answer_each(stream, |_, mut stream| {
        let _ = stream.write_all(b"Saturday\n");
    });
}

/// Takes all that comes, until the client closes.
fn starve(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[track_caller]
fn number(report: &Value, name: &str) -> f64 {
    let number = report[name].as_f64();
    number.unwrap_or_else(|| panic!("{name} is no number: {report:#}"))
}

#[test]
fn a_connection_that_is_never_served_shows_in_the_report() {
    let server = serving_each(|number, stream| match number {
        0 => starve(stream),
        _ => answer_all(stream),
    });
    let options = "--connections 4 --requests 4 --timeout 500ms";
    let (ended, report) = bench(server, options);
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(report["requests"], 3);
    assert_eq!(report["unanswered"], 1);
    assert_eq!(report["replies_per_connection_min"], 0);
    assert_eq!(report["replies_per_connection_max"], 1);
    assert_eq!(report["fairness"], 0.75);
    // One of four requests: its age counts, though it has no latency.
    assert!(number(&report, "latency_p90_us") >= 500e3, "{report:#}");
    assert!(number(&report, "latency_max_us") >= 500e3, "{report:#}");
}

#[test]
fn a_connection_that_is_served_too_late_shows_in_the_report() {
    const TIME_TO_SEND: Duration = Duration::from_millis(200);
    let server = serving_each(|number, stream| {
        let mut stall = match number {
            0 => 2 * TIME_TO_SEND,
            _ => Duration::ZERO,
        };
        answer_each(stream, |_, mut stream| {
            thread::sleep(std::mem::take(&mut stall));
            let _ = stream.write_all(b"Saturday\n");
        });
    });
    let report = bench_well(server, "--connections 3 --duration 200ms --warm-up 0s");
    assert_eq!(report["replies_per_connection_min"], 0);
    assert!(number(&report, "replies_per_connection_max") > 0.0);
    let fairness = number(&report, "fairness");
    assert!((0.333..0.667).contains(&fairness), "{report:#}");
    assert!(number(&report, "latency_max_us") >= 400e3, "{report:#}");
}

#[test]
fn connections_that_are_served_evenly_have_an_index_of_1() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_well(server, "--connections 4 --in-flight 5 --requests 20");
    assert_eq!(report["replies_per_connection_min"], 5);
    assert_eq!(report["replies_per_connection_max"], 5);
    assert_eq!(report["fairness"], 1.0);
}

#[test]
fn replies_of_the_warm_up_do_not_count() {
    let server = chime(Service::Both, Framing::Line);
    let options = "--connections 1 --duration 100ms --warm-up 400ms";
    let report = bench_well(server, options);
    let most = number(&report, "replies_per_connection_max");
    assert!(most <= number(&report, "requests"), "{report:#}");
}

#[test]
fn an_open_loop_has_no_fairness() {
    let server = chime(Service::Both, Framing::Line);
    let report = bench_well(server, "--connections 2 --rate 1000 --requests 10");
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
    let server = silent.local_addr().expect("it is bound");
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
        0 => starve(stream),
        1 => drop(stream.read_exact(&mut [0; 4])),
        2 => {
            let _ = stream.read_exact(&mut [0; 4]);
            let _ = stream.write_all(b"Saturday\nSaturday\nSaturday\n");
            starve(stream);
        }
        _ => answer_all(stream),
    });
    let options = "--connections 4 --duration 100ms --warm-up 0s --timeout 2s";
    let (_, report) = bench(server, options);
    for kind in ["timed_out", "closed", "excess"] {
        assert_eq!(report["errors"][kind], 1, "{kind}: {report:#}");
    }
    assert_eq!(report["errors"]["connect"], 0);
    // That of the connection with too many replies has been answered.
    assert_eq!(report["unanswered"], 2, "{report:#}");
    assert!(number(&report, "latency_max_us") >= 2e6, "{report:#}");
}

#[test]
fn the_exit_code_is_that_of_the_first_failure() {
    let (starved_ended, starved_end) = mpsc::channel();
    let starved_end = std::sync::Arc::new(std::sync::Mutex::new(starved_end));
    let server = serving_each(move |number, stream| match number {
        0 => {
            starve(stream);
            let _ = starved_ended.send(());
        }
        // It answers until the other connection has been given up, and closes.
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
    let (ended, report) = bench(server, options);
    assert_eq!(ended.exit_code, Some(4), "{report:#}");
    assert_eq!(report["errors"]["timed_out"], 1, "{report:#}");
    assert_eq!(report["errors"]["closed"], 1, "{report:#}");
}

#[test]
fn an_open_loop_has_as_many_in_flight_as_are_due() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        stream.read_exact(&mut [0; 300 * 4]).expect("all requests");
        let _ = stream.write_all(&b"Saturday\n".repeat(300));
        starve(stream);
    });
    let options = "--connections 1 --rate 1000 --in-flight 300 --requests 300";
    let report = bench_well(server, options);
    assert_eq!(report["requests"], 300);
    assert_eq!(report["unsent"], 0);
    // One was due each millisecond, and none was answered before the last was.
    for (name, milliseconds) in [
        ("latency_p50_us", 149.0),
        ("latency_p90_us", 268.0),
        ("latency_max_us", 298.0),
    ] {
        assert!(number(&report, name) >= milliseconds * 1e3, "{report:#}");
    }
}

#[test]
fn neither_a_drip_nor_further_requests_put_off_the_deadline_of_a_reply() {
    let server = dripping(b"Saturday\n");
    // Were it put off, this would run for a minute.
    let options = "--connections 1 --rate 100 --in-flight 100000 --duration 1m --warm-up 0s";
    let (ended, report) = bench(server, &format!("{options} --timeout 300ms"));
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(report["requests"], 0);
    assert_eq!(report["errors"]["timed_out"], 1);
    assert!(number(&report, "latency_max_us") >= 300e3, "{report:#}");
}
