//! T3, T8 and T13: limits, at the limit and one beyond.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use crate::limits::connect_from;
use crate::load::{WORKERS, connect_all, for_each_load, resume, suspend};
use crate::process::{FLAGS, ServerProcess, command, read_line, read_to_eof, wait_until};
use crate::{ANSWERED, FULL, LIMITED, OPEN, WELCOME, metric, start, wait_for_metric};

const REFUSED: &str = "chime_connections_refused_total{reason=\"full\"}";
const ADDRESS_REFUSED: &str = "chime_connections_refused_total{reason=\"address\"}";

/// Asserts that a server with `held` connections is full, and that closing one frees exactly one permit.
fn assert_full(server: &ServerProcess, mut held: Vec<TcpStream>, reason: &str) {
    let open = held.len() as u64;
    assert_eq!(metric(server, OPEN), open);
    let mut refused = 2;
    for _ in 0..refused {
        assert_eq!(read_to_eof(server.connect()), FULL);
    }
    assert_eq!(metric(server, reason), refused);
    drop(held.pop());
    wait_until("a permit is free", || {
        let client = server.connect();
        let is_served = read_line(&client) == WELCOME;
        match is_served {
            true => held.push(client),
            false => refused += 1,
        }
        is_served
    });
    assert_eq!(read_to_eof(server.connect()), FULL);
    let counted = (metric(server, reason), metric(server, OPEN));
    assert_eq!(counted, (refused + 1, open));
}

#[test]
fn t08_the_connection_limit_is_exact() {
    for_each_load(&[1, 2, 50, 500, 2500], |clients, workers| {
        let limit = clients.to_string();
        let server = start(&["--workers", workers, "--max-connections", &limit]);
        let held = connect_all(&server, clients);
        assert_full(&server, held, REFUSED);
    });
}

#[test]
fn t08_the_per_address_limit_is_exact() {
    for_each_load(&[1, 2, 50, 500], |clients, workers| {
        let limit = clients.to_string();
        let flags = [
            "--workers",
            workers,
            "--max-connections-per-address",
            &limit,
        ];
        let server = start(&flags);
        let held = connect_all(&server, clients);
        let other = connect_from(Ipv4Addr::new(127, 0, 0, 2).into(), server.tcp[0]);
        assert_eq!(read_line(&other), WELCOME);
        drop(other);
        wait_for_metric(&server, OPEN, clients as u64);
        assert_full(&server, held, ADDRESS_REFUSED);
    });
}

#[test]
fn t03_the_burst_limit_is_exact() {
    // Seven does not divide a second.
    for rate in [1, 2, 3, 7] {
        for workers in WORKERS {
            // One in four datagrams over the rate gets a reply.
            for (over, answered) in [(0, rate), (1, rate), (3, rate), (4, rate + 1)] {
                let flags = ["--workers", workers, "--udp-rate", &rate.to_string()];
                let server = start(&flags);
                assert_eq!(metric(&server, ANSWERED), 0);
                let client = server.udp_client();
                // In one burst: no time passes for the server between the first and the last.
                suspend(&server);
                for _ in 0..rate + over {
                    client.send(b"day").expect("sent");
                }
                resume(&server);
                wait_until("all datagrams are counted", || {
                    metric(&server, ANSWERED) + metric(&server, LIMITED) == rate + over
                });
                let case = format!("{over} over a rate of {rate}, --workers {workers}");
                assert_eq!(metric(&server, ANSWERED), answered, "{case}");
            }
        }
    }
}

#[test]
fn t03_the_burst_refills_and_does_not_exceed_one_second() {
    let server = start(&["--udp-rate", "7"]);
    let client = server.udp_client();
    for round in 1..=3 {
        suspend(&server);
        for _ in 0..7 {
            client.send(b"day").expect("sent");
        }
        // One second refills the burst of seven. More time does not increase it.
        std::thread::sleep(std::time::Duration::from_secs(2));
        resume(&server);
        wait_for_metric(&server, ANSWERED, 7 * round);
    }
    assert_eq!(metric(&server, LIMITED), 0);
}

#[test]
fn t13_each_worker_is_one_thread() {
    let threads = |workers: &str| {
        let server = start(&["--workers", workers]);
        // A reply from the admin endpoint shows that all workers have started.
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
