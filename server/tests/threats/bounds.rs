//! T3, T8 and T13: limits, exactly at them and one beyond.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use crate::limits::connect_from;
use crate::load::{WORKERS, for_each_load, hold, release, welcomed_clients};
use crate::process::{FLAGS, Server, command, read_line, rest_of, wait_until};
use crate::{ANSWERED, FULL, LIMITED, OPEN, WELCOME, metric, start, wait_for};

const REFUSED: &str = "chime_connections_refused_total{reason=\"full\"}";
const ADDRESS_REFUSED: &str = "chime_connections_refused_total{reason=\"address\"}";

/// Asserts that at this limit one client more is refused, and that one that leaves makes room for one.
fn assert_full(server: &Server, mut held: Vec<TcpStream>, reason: &str) {
    let open = held.len() as u64;
    assert_eq!(metric(server, OPEN), open);
    let mut refused = 2;
    for _ in 0..refused {
        assert_eq!(rest_of(server.connect()), FULL);
    }
    assert_eq!(metric(server, reason), refused);
    drop(held.pop());
    wait_until("there is room", || {
        let client = server.connect();
        let is_served = read_line(&client) == WELCOME;
        match is_served {
            true => held.push(client),
            false => refused += 1,
        }
        is_served
    });
    assert_eq!(rest_of(server.connect()), FULL);
    let counted = (metric(server, reason), metric(server, OPEN));
    assert_eq!(counted, (refused + 1, open));
}

#[test]
fn t08_exactly_as_many_connections_as_allowed_are_served() {
    for_each_load(&[1, 2, 50, 500, 2500], |clients, workers| {
        let limit = clients.to_string();
        let server = start(&["--workers", workers, "--max-connections", &limit]);
        let held = welcomed_clients(&server, clients);
        assert_full(&server, held, REFUSED);
    });
}

#[test]
fn t08_exactly_as_many_connections_of_an_address_as_allowed_are_served() {
    for_each_load(&[1, 2, 50, 500], |clients, workers| {
        let limit = clients.to_string();
        let flags = [
            "--workers",
            workers,
            "--max-connections-per-address",
            &limit,
        ];
        let server = start(&flags);
        let held = welcomed_clients(&server, clients);
        let other = connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), server.tcp[0]);
        assert_eq!(read_line(&other), WELCOME);
        drop(other);
        wait_for(&server, OPEN, clients as u64);
        assert_full(&server, held, ADDRESS_REFUSED);
    });
}

#[test]
fn t03_exactly_as_many_datagrams_as_the_rate_are_answered_at_once() {
    // Seven does not divide a second.
    for rate in [1, 2, 3, 7] {
        for workers in WORKERS {
            // Of those over the rate, the fourth is answered.
            for (over, answered) in [(0, rate), (1, rate), (3, rate), (4, rate + 1)] {
                let flags = ["--workers", workers, "--udp-rate", &rate.to_string()];
                let server = start(&flags);
                assert_eq!(metric(&server, ANSWERED), 0);
                let client = server.datagrams();
                // All at once, so that no time passes between the first and the last.
                hold(&server);
                for _ in 0..rate + over {
                    client.send(b"day").expect("sent");
                }
                release(&server);
                wait_until("all are taken", || {
                    metric(&server, ANSWERED) + metric(&server, LIMITED) == rate + over
                });
                let what = format!("{over} over a rate of {rate}, {workers} workers");
                assert_eq!(metric(&server, ANSWERED), answered, "{what}");
            }
        }
    }
}

#[test]
fn t03_a_network_that_has_paid_has_its_rate_again() {
    let server = start(&["--udp-rate", "7"]);
    let client = server.datagrams();
    for round in 1..=3 {
        hold(&server);
        for _ in 0..7 {
            client.send(b"day").expect("sent");
        }
        // A second pays for seven. Time that passes beyond it buys no more of them.
        std::thread::sleep(std::time::Duration::from_secs(2));
        release(&server);
        wait_for(&server, ANSWERED, 7 * round);
    }
    assert_eq!(metric(&server, LIMITED), 0);
}

#[test]
fn t13_each_worker_is_one_thread() {
    let threads = |workers: &str| {
        let server = start(&["--workers", workers]);
        // A client that is answered here has seen all of them start.
        assert_eq!(metric(&server, OPEN), 0);
        let folder = format!("/proc/{}/task", server.child.id());
        fs::read_dir(folder).expect("a process").count()
    };
    let one = threads("1");
    assert_eq!([threads("2"), threads("8")], [one + 1, one + 7]);
}

#[test]
fn t08_limits_of_zero_are_refused() {
    for flag in [
        "--max-connections",
        "--max-connections-per-address",
        "--udp-rate",
        "--workers",
    ] {
        let flags = [&FLAGS[..], &[flag, "0"]].concat();
        let output = command(&flags).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let error = String::from_utf8_lossy(&output.stderr);
        let expected = format!("error: invalid value '0' for '{flag} <N>': must be at least 1");
        assert!(error.starts_with(&expected), "{error}");
    }
}
