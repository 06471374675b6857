//! Loads that fail: what is counted, what is said, and how they end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::thread;

use chime_protocol::{Framing, Service};

use super::{bench, bench_well};
use crate::run;
use crate::stand_in::{WELCOME, answering, chime, drip, saying, tcp};

#[test]
fn requests_that_find_no_room_in_time_are_unsent() {
    let server = saying(WELCOME, false);
    let options = "--connections 1 --in-flight 2 --rate 1000 --duration 50ms --warm-up 0s";
    let (ended, report) = bench(server, &format!("{options} --timeout 200ms"));
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(report["requests"], 0);
    assert_eq!(report["errors"]["timed_out"], 1);
    assert_eq!(report["unanswered"], 2);
    assert_eq!(report["unsent"], 48);
    // The age of those that were sent.
    assert!(
        report["latency_min_us"].as_f64() >= Some(198e3),
        "{report:#}"
    );
}

#[test]
fn datagrams_without_a_reply_are_lost() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let options = "--udp --connections 2 --in-flight 2 --requests 7 --timeout 50ms";
    let (ended, report) = bench(server, options);
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(
        (&report["requests"], &report["lost"]),
        (&0.into(), &7.into())
    );
    let start = format!("chime-client: {server}: no reply within 50ms; ");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
}

#[test]
fn a_connection_that_ends_too_early_is_an_error() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        stream.read_exact(&mut [0; 5 * 4]).unwrap();
        stream.write_all(b"Saturday\nSaturday\nSat").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let options = "--connections 1 --in-flight 5 --requests 10";
    let (ended, report) = bench(server, options);
    assert_eq!(ended.exit_code, Some(3), "{ended:?}");
    let start = format!("chime-client: {server}: the server closed the connection; ");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
    assert_eq!(report["requests"], 2);
    assert_eq!(report["errors"]["closed"], 1);
    // Whether the two replies had new requests sent depends on when the end was seen.
    let [unanswered, unsent] = ["unanswered", "unsent"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(unanswered + unsent, 8, "{report:#}");
    assert!((3..=5).contains(&unanswered), "{report:#}");
}

#[test]
fn a_connection_may_end_after_its_last_reply() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"Saturday\n").unwrap();
    });
    let report = bench_well(server, "--connections 1 --requests 1");
    assert_eq!(report["requests"], 1);
}

#[test]
fn more_replies_than_requests_are_an_error() {
    let more = answering(b"Saturday\nSaturday\n");
    let (ended, report) = bench(more, "--connections 1 --requests 1");
    assert_eq!(ended.exit_code, Some(5), "{ended:?}");
    assert_eq!(report["requests"], 1);
    assert_eq!(report["errors"]["excess"], 1);

    // A greeting that is not expected.
    let server = chime(Service::Both, Framing::Line);
    let options = "--connections 1 --in-flight 2 --requests 2 --rate 10 --greeting-lines 0";
    let ended = run(&format!("bench --server {server} {options}"));
    assert_eq!(ended.exit_code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("--greeting-lines"), "{ended:?}");
}

#[test]
fn a_reply_that_never_comes_is_an_error() {
    let server = answering(b"Satur");
    let (ended, report) = bench(server, "--connections 1 --requests 2 --timeout 200ms");
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(report["errors"]["timed_out"], 1);
    assert_eq!(report["unanswered"], 1);
    assert_eq!(report["unsent"], 1);
}

#[test]
fn a_welcome_that_drips_times_out_on_a_connection_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            thread::spawn(move || drip(&mut stream, WELCOME));
        }
    });
    let options = "--churn --connections 2 --requests 2 --timeout 300ms";
    let (ended, report) = bench(server, options);
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(report["errors"]["timed_out"], 2, "{report:#}");
    assert_eq!(report["bytes_sent"], 0, "{report:#}");
}

#[test]
fn a_server_that_does_not_greet_is_recognised() {
    let server = saying(b"Welcome", false);
    let ended = run(&format!(
        "bench --server {server} --connections 1 --timeout 200ms"
    ));
    assert_eq!(
        (ended.exit_code, &*ended.stdout),
        (Some(4), ""),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("--greeting-lines 0"), "{ended:?}");
}

#[test]
fn a_server_that_is_not_there_fails_the_load() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = free.local_addr().unwrap();
    drop(free);
    let start = format!("chime-client: cannot connect to {server}: connection refused; ");
    for options in ["", "--greeting-lines 0", "--churn", "--udp"] {
        let ended = run(&format!("bench --server {server} --requests 9 {options}"));
        assert_eq!(ended.exit_code, Some(3), "{options}: {ended:?}");
        assert!(ended.stderr.starts_with(&start), "{options}: {ended:?}");
    }
}

#[test]
fn a_load_that_makes_no_sense_is_wrong_usage() {
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
        let ended = run(&format!("bench {options}"));
        assert_eq!(ended.exit_code, Some(2), "{options}");
        assert!(ended.stderr.starts_with("error: "), "{options}");
    }
    for arguments in ["--udp bench --churn", "day bench"] {
        assert_eq!(run(arguments).exit_code, Some(2), "{arguments}");
    }
}
