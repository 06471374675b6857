//! The command `ping`: round trips, and the offset of the clock.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use chime_protocol::{Framing, Service};
use chrono::{Local, NaiveDate, NaiveDateTime};
use serde_json::Value;

use crate::servers::{WELCOME, chime, chime_udp, udp, unused_address};
#[cfg(unix)]
use crate::terminal::{self, Terminal};
use crate::{Outcome, run};

/// The fixed time of the servers.
fn server_time() -> NaiveDateTime {
    let date = NaiveDate::from_ymd_opt(2026, 11, 21).expect("a date");
    date.and_hms_micro_opt(6, 32, 6, 123_456).expect("a time")
}

/// Runs `ping --json`, and returns its outcome, the objects of its requests, and the summary.
#[track_caller]
fn ping(server: SocketAddr, options: &str) -> (Outcome, Vec<Value>, Value) {
    let outcome = run(&format!("ping --json --server {server} {options}"));
    let lines = outcome.stdout.lines();
    let mut objects: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let summary = objects.pop().expect("a summary");
    (outcome, objects, summary)
}

#[test]
fn each_round_trip_and_a_summary_are_printed() {
    for (server, options) in [
        (chime(Service::Both, Framing::Line), "-c 3 -i 10ms"),
        (chime_udp(), "--udp --count 3 --interval 0s"),
    ] {
        let before = Local::now().naive_local();
        let (outcome, replies, summary) = ping(server, options);
        let after = Local::now().naive_local();
        assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(0), ""));
        assert_eq!(replies.len(), 3, "{outcome:?}");
        let offset_us = |now: NaiveDateTime| {
            let offset = server_time() - now;
            offset.num_microseconds().expect("a few years") as f64
        };
        let (mut shortest, mut longest) = (f64::INFINITY, 0.0_f64);
        for (sequence, reply) in (1..).zip(&replies) {
            assert_eq!(reply["sequence"], sequence);
            assert_eq!(reply["error"], Value::Null);
            let round_trip = reply["round_trip_us"].as_f64().expect("a number");
            (shortest, longest) = (shortest.min(round_trip), longest.max(round_trip));
            let offset = reply["clock_offset_us"].as_f64().expect("a number");
            let is_plausible = offset_us(after) <= offset && offset <= offset_us(before);
            assert!(is_plausible, "{offset}");
        }
        assert_eq!(
            (&summary["requests"], &summary["replies"]),
            (&3.into(), &3.into())
        );
        let round_trip = |name| summary[name].as_f64().expect("a number");
        let (min, max) = (
            round_trip("round_trip_min_us"),
            round_trip("round_trip_max_us"),
        );
        assert_eq!((min, max), (shortest, longest), "{outcome:?}");
        assert!(min <= round_trip("round_trip_mean_us") && round_trip("round_trip_mean_us") <= max);
        assert_eq!(round_trip("round_trip_p99_us"), max);
        let best = replies
            .iter()
            .find(|reply| reply["round_trip_us"] == shortest);
        assert_eq!(
            summary["clock_offset_us"],
            best.expect("it is one")["clock_offset_us"]
        );
    }
}

#[test]
fn text_is_for_people() {
    let server = chime(Service::Both, Framing::Line);
    let outcome = run(&format!("ping -c 2 -i 1ms --server {server}"));
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let [first, second, heading, totals, round_trip, offset] = lines[..] else {
        panic!("{outcome:?}");
    };
    for (line, start) in [
        (first, format!("{server}: reply 1 in ")),
        (second, format!("{server}: reply 2 in ")),
        (round_trip, "round trip min/avg/max/p99 ".to_owned()),
        (offset, "clock offset ".to_owned()),
    ] {
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains(" ms"), "{line}");
    }
    // The summary has the shortest and the longest of the round trips above.
    let number = |text: &str| text.parse::<f64>().expect(text);
    let mut shown = [first, second].map(|line| {
        let (_, time) = line.split_once(" in ").expect("a round trip");
        number(time.split_once(" ms").expect("a unit").0)
    });
    shown.sort_by(f64::total_cmp);
    let (_, times) = round_trip.split_once("p99 ").expect("round trips");
    let times: Vec<_> = times
        .trim_end_matches(" ms")
        .split('/')
        .map(number)
        .collect();
    assert_eq!([times[0], times[2]], shown, "{outcome:?}");
    assert_eq!(heading, format!("--- {server} over TCP"));
    assert_eq!(totals, "requests 2, replies 2, lost 0.0 %");
    assert_eq!(outcome.exit_code, Some(0));
}

#[test]
fn a_service_without_the_time_has_no_offset() {
    for service in [Service::DateTime, Service::DigitSum] {
        let (outcome, replies, summary) = ping(chime(service, Framing::Line), "-c 1");
        assert_eq!(outcome.exit_code, Some(0));
        assert!(replies[0]["round_trip_us"].is_number());
        assert_eq!(replies[0]["clock_offset_us"], Value::Null);
        assert_eq!(summary["clock_offset_us"], Value::Null);
    }
}

#[test]
fn a_lost_datagram_is_counted() {
    // The first request gets no reply.
    let server = udp(&[&[], &[b"2026-11-21 06:32:06.123456"]]);
    // The timeout is that of TCP, 10 s: a datagram is not waited for so long.
    let (outcome, replies, summary) = ping(server, "--udp -c 2 -i 0s");
    assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
    assert_eq!(replies[0]["round_trip_us"], Value::Null);
    let error = replies[0]["error"].as_str().expect("an error");
    assert!(error.contains("1s"), "{error}");
    assert!(replies[1]["round_trip_us"].is_number());
    assert_eq!(
        (&summary["requests"], &summary["replies"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn a_lost_connection_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("a bound socket");
    // Each connection has one reply.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client connects");
            stream.write_all(WELCOME).expect("the client reads");
            stream.read_exact(&mut [0; 10]).expect("a request");
            let reply = b"2026-11-21 06:32:06.123456\n";
            stream.write_all(reply).expect("the client reads");
        }
    });
    let outcome = run(&format!("ping -c 3 -i 100ms --server {server}"));
    let begins = |number: usize, start: &str| {
        let line = outcome.stdout.lines().nth(number - 1);
        line.is_some_and(|line| line.starts_with(start))
    };
    for number in 1..=3 {
        let start = format!("{server}: reply {number} in ");
        assert!(begins(number, &start), "{outcome:?}");
    }
    assert!(
        begins(5, "requests 3, replies 3, lost 0.0 %"),
        "{outcome:?}"
    );
    assert_eq!(outcome.exit_code, Some(0));
}

#[test]
fn without_a_reply_the_exit_code_is_that_of_the_last_failure() {
    let server = unused_address();
    for (options, exit_code) in [("", 3), ("--udp", 3)] {
        let (outcome, requests, summary) = ping(server, &format!("-c 2 -i 0s {options}"));
        assert_eq!(outcome.exit_code, Some(exit_code), "{outcome:?}");
        assert_eq!(requests.len(), 2);
        assert_eq!(summary["replies"], 0);
        assert_eq!(summary["round_trip_min_us"], Value::Null);
    }
    let (outcome, _, _) = ping(udp(&[&[]]), "--udp -c 1 --timeout 10ms");
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_the_summary() {
    let server = chime(Service::Both, Framing::Line);
    let arguments = format!("ping --interval 1h --server {server}");
    let mut terminal = Terminal::start(terminal::client(&arguments, "a_ping"));
    terminal.wait_for("a reply", |lines| {
        lines.iter().any(|line| line.contains("reply 1 in"))
    });
    terminal.press(terminal::CTRL_C);
    let (exit_code, screen) = terminal.wait();
    assert_eq!(exit_code, Some(0), "{screen}");
    assert!(
        screen.contains("\nrequests 1, replies 1, lost 0.0 %\n"),
        "{screen}"
    );
}
