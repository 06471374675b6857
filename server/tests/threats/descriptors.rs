//! T13 to T15: many connections, and what is left of them.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::load::{CLIENTS, for_each_load};
use crate::{
    OPEN, Server, WELCOME, assert_serves, limit_descriptors, metric, peak_memory_kb, record,
    rest_of, seconds, start, wait_for, wait_until,
};

/// The time that a process has had of the processors.
fn processor_time(server: &Server) -> Duration {
    let path = format!("/proc/{}/stat", server.child.id());
    let stat = fs::read_to_string(path).expect("a process");
    // What follows the name, which may contain anything but this.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("a name")
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    // In the server and in the system: fields 14 and 15 of proc(5), in hundredths of a second.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// How many files and sockets a process has open.
fn descriptors(server: &Server) -> usize {
    let path = format!("/proc/{}/fd", server.child.id());
    fs::read_dir(path).expect("a process").count()
}

#[test]
fn t13_a_server_out_of_descriptors_rests_and_serves_again() {
    // 50 clients find descriptors enough.
    for_each_load(&[200, 500, 2500], run_out_of_descriptors);
}

fn run_out_of_descriptors(clients: usize, workers: &str) {
    let server = start(&["--workers", workers]);
    assert_serves(&server);
    limit_descriptors(&server, 64);
    let before = processor_time(&server);
    let begin = Instant::now();
    let held: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    // What it does in this time is what is measured.
    thread::sleep(Duration::from_secs(3));
    let used = processor_time(&server) - before;
    let released = Instant::now();
    drop(held);
    let expected = format!("{WELCOME}15\n");
    wait_until("it serves again", || server.converse("12345\n") == expected);
    let serves_after = released.elapsed();
    let errors = metric(&server, "chime_accept_errors_total");
    assert!(errors > 0, "there were descriptors enough");
    // Each worker pauses for 100 ms after each.
    let pauses = begin.elapsed().as_millis() as u64 / 100 + 1;
    assert!(errors <= 2 * pauses, "{errors} failures to accept");
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let who = format!("{clients} clients waiting for descriptors, on {workers} workers");
    record(
        "T13",
        &format!("{who}: processor time in 3 s"),
        seconds(used),
    );
    record(
        "T13",
        &format!("{who}: served again after"),
        seconds(serves_after),
    );
    let what = format!("{who}: failures to accept, and lines of the log");
    record("T13", &what, format!("{errors}, {}", log.lines().count()));
    // A server that spins takes as many seconds as there are, for each of its workers.
    assert!(used < Duration::from_secs(1), "{used:?}");
}

#[test]
fn t14_resets_leave_nothing_behind_and_are_not_logged() {
    for_each_load(&CLIENTS, reset_all);
}

fn reset_all(clients: usize, workers: &str) {
    let server = start(&["--workers", workers]);
    // Sockets are announced before the workers have theirs; who answers this has seen them start.
    wait_for(&server, OPEN, 0);
    let before = descriptors(&server);
    let mut streams = Vec::new();
    for number in 0..clients {
        let mut stream = server.connect();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("set");
        match number % 4 {
            0 => {}
            1 => assert!(stream.peek(&mut [0]).is_ok(), "the welcome is there"),
            2 => stream.write_all(b"123").expect("sent"),
            _ => {
                assert_eq!(crate::read_line(&stream), WELCOME);
                stream.write_all(b"day\n").expect("sent");
                assert!(stream.peek(&mut [0]).is_ok(), "the reply is there");
            }
        }
        streams.push(stream);
    }
    // All are reset at once.
    drop(streams);
    wait_for(&server, OPEN, 0);
    let mut after = 0;
    wait_until("the descriptors are given back", || {
        after = descriptors(&server);
        after <= before
    });
    assert_serves(&server);
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let who = format!("{clients} resets, on {workers} workers");
    let what = format!("{who}: descriptors before and after");
    record("T14", &what, format!("{before}, {after}"));
    record(
        "T14",
        &format!("{who}: lines of the log"),
        log.lines().count(),
    );
    assert!(log.lines().count() <= 10, "{log}");
}

#[test]
fn t15_churn_fails_for_no_one_and_takes_no_memory() {
    for_each_load(&CLIENTS, churn);
}

fn churn(at_a_time: usize, workers: &str) {
    const CONNECTIONS: usize = 20_000;
    let server = start(&["--workers", workers]);
    let quit = || {
        let mut clients: Vec<_> = (0..at_a_time).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(b"quit\n").expect("sent");
        }
        for client in clients {
            let expected = format!("{WELCOME}Thank You .. See You soon !! \n");
            assert_eq!(rest_of(client), expected);
        }
        wait_for(&server, OPEN, 0);
    };
    // The first of them take what so large a number at a time takes.
    quit();
    let before = peak_memory_kb(&server);
    let start = Instant::now();
    (0..CONNECTIONS / at_a_time).for_each(|_| quit());
    let took = start.elapsed();
    let grown = peak_memory_kb(&server) - before;
    let who = format!("churn of {at_a_time} at a time, on {workers} workers");
    let what = format!(
        "{who}: connections failed of {CONNECTIONS}, in {}",
        seconds(took)
    );
    record("T15", &what, 0);
    record("T15", &format!("{who}: memory"), format!("{grown} kB"));
    // Another worker may get all of them than did before, and each takes less than a kB.
    let other_worker = at_a_time as u64;
    assert!(
        grown <= 2048 + other_worker,
        "the server grew by {grown} kB"
    );
}
