//! T13 to T15: descriptor exhaustion, resets and connection churn.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::load::{CLIENTS, for_each_load, for_each_load_in_turn};
use crate::{
    OPEN, ServerProcess, WELCOME, assert_serves, limit_descriptors, memory_growth_kb, metric,
    peak_memory_kb, read_to_eof, record, seconds, start, wait_for_metric, wait_until,
};

/// Returns the CPU time that the server has used.
fn cpu_time(server: &ServerProcess) -> Duration {
    let path = format!("/proc/{}/stat", server.child.id());
    let stat = fs::read_to_string(path).expect("a process");
    // The fields after the name, which is in parentheses and may contain spaces.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("a name")
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    // utime and stime, fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Returns the number of open file descriptors.
pub(crate) fn descriptors(server: &ServerProcess) -> usize {
    let path = format!("/proc/{}/fd", server.child.id());
    fs::read_dir(path).expect("a process").count()
}

#[test]
fn t13_descriptor_exhaustion_neither_spins_nor_ends_the_server() {
    // 50 clients do not exhaust the descriptors, and 500 are as many too many as 200.
    for_each_load_in_turn(&[200, 2500], run_out_of_descriptors);
}

fn run_out_of_descriptors(clients: usize, workers: &str) {
    let server = start(&["--workers", workers]);
    assert_serves(&server);
    limit_descriptors(&server, 64);
    let before = cpu_time(&server);
    let begin = Instant::now();
    let held: Vec<_> = (0..clients).map(|_| server.connect()).collect();
    // The CPU time of this period is measured.
    thread::sleep(Duration::from_secs(3));
    let used = cpu_time(&server) - before;
    let released = Instant::now();
    drop(held);
    let expected = format!("{WELCOME}15\n");
    wait_until("the server recovers", || {
        server.replies_to("12345\n") == expected
    });
    let recovered_after = released.elapsed();
    let errors = metric(&server, "chime_accept_errors_total");
    assert!(errors > 0, "accept never failed");
    // Each worker pauses for 100 ms after each error.
    let pauses = begin.elapsed().as_millis() as u64 / 100 + 1;
    assert!(errors <= 2 * pauses, "{errors} accept errors");
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let load = format!("{clients} clients, --workers {workers}, no descriptors left");
    record("T13", &format!("{load}: CPU time in 3 s"), seconds(used));
    record(
        "T13",
        &format!("{load}: recovered after"),
        seconds(recovered_after),
    );
    let label = format!("{load}: accept errors, log lines");
    record("T13", &label, format!("{errors}, {}", log.lines().count()));
    // A worker that spins uses the 3 seconds completely.
    assert!(used < Duration::from_secs(1), "{used:?}");
}

#[test]
fn t14_resets_leak_no_descriptors_and_are_not_logged() {
    for_each_load(&CLIENTS, reset_all);
}

fn reset_all(clients: usize, workers: &str) {
    let server = start(&["--workers", workers]);
    // Sockets are announced before the workers start. A reply from the admin endpoint shows that they have.
    wait_for_metric(&server, OPEN, 0);
    let before = descriptors(&server);
    let mut streams = Vec::new();
    for number in 0..clients {
        let mut stream = server.connect();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("set");
        match number % 4 {
            0 => {}
            1 => assert!(stream.peek(&mut [0]).is_ok(), "no welcome"),
            2 => stream.write_all(b"123").expect("sent"),
            _ => {
                assert_eq!(crate::read_line(&stream), WELCOME);
                stream.write_all(b"day\n").expect("sent");
                assert!(stream.peek(&mut [0]).is_ok(), "no reply");
            }
        }
        streams.push(stream);
    }
    // Resets all connections at once.
    drop(streams);
    wait_for_metric(&server, OPEN, 0);
    let mut after = 0;
    wait_until("the descriptors are closed", || {
        after = descriptors(&server);
        after <= before
    });
    assert_serves(&server);
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    let load = format!("{clients} resets, --workers {workers}");
    let label = format!("{load}: descriptors before, after");
    record("T14", &label, format!("{before}, {after}"));
    record("T14", &format!("{load}: log lines"), log.lines().count());
    assert!(log.lines().count() <= 10, "{log}");
}

#[test]
fn t15_connection_churn_fails_no_connection_and_leaks_no_memory() {
    for_each_load(&CLIENTS, churn);
}

fn churn(concurrent: usize, workers: &str) {
    const CONNECTIONS: usize = 20_000;
    let server = start(&["--workers", workers]);
    let quit = || {
        let mut clients: Vec<_> = (0..concurrent).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(b"quit\n").expect("sent");
        }
        for client in clients {
            let expected = format!("{WELCOME}Thank You .. See You soon !! \n");
            assert_eq!(read_to_eof(client), expected);
        }
        wait_for_metric(&server, OPEN, 0);
    };
    // The first batch allocates the memory of this number of concurrent connections.
    quit();
    let before = peak_memory_kb(&server);
    let start = Instant::now();
    (0..CONNECTIONS / concurrent).for_each(|_| quit());
    let time = start.elapsed();
    let grown = memory_growth_kb(&server, before);
    let load = format!("{concurrent} concurrent, --workers {workers}");
    let label = format!(
        "{load}: failed of {CONNECTIONS} connections in {}",
        seconds(time)
    );
    record("T15", &label, 0);
    let label = format!("{load}: memory growth");
    record("T15", &label, format!("{grown} kB"));
    // A worker that had none of the first batch may get all of a later one: less than 1 kB each.
    let other_worker = concurrent as u64;
    assert!(
        grown <= 2048 + other_worker,
        "the server grew by {grown} kB"
    );
}
