//! T13 to T15: many connections, and what is left of them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::{
    ADMIN, FLAGS, OPEN, Server, WELCOME, assert_serves, metric, peak_memory_kb, record, rest_of,
    seconds, start, wait_for, wait_until, welcomed,
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
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 64; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_chime-server"))
        .args(FLAGS)
        .args(ADMIN)
        .args(["--workers", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = Server::spawn(&mut command, 3);
    let before = processor_time(&server);
    let start = Instant::now();
    let held: Vec<_> = (0..200).map(|_| server.connect()).collect();
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
    let pauses = start.elapsed().as_millis() as u64 / 100 + 1;
    assert!(errors <= 2 * pauses, "{errors} failures to accept");
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    record(
        "T13",
        "processor time in 3 s at the limit, with 200 clients waiting",
        seconds(used),
    );
    record("T13", "served again after", seconds(serves_after));
    record(
        "T13",
        "failures to accept, and lines of the log",
        format!("{errors}, {}", log.lines().count()),
    );
    // A server that spins takes as many seconds as there are, for each of its workers.
    assert!(used < Duration::from_secs(1), "{used:?}");
}

#[test]
fn t14_resets_leave_nothing_behind_and_are_not_logged() {
    const CLIENTS: usize = 2000;
    let server = start(&[]);
    // Sockets are announced before the workers have theirs; who answers this has seen them start.
    wait_for(&server, OPEN, 0);
    let before = descriptors(&server);
    for number in 0..CLIENTS {
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
    }
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
    record(
        "T14",
        &format!("descriptors before and after {CLIENTS} resets"),
        format!("{before}, {after}"),
    );
    record("T14", "lines of the log", log.lines().count());
    assert!(log.lines().count() <= 10, "{log}");
}

#[test]
fn t15_churn_fails_for_no_one_and_takes_no_memory() {
    const AT_A_TIME: usize = 64;
    const CONNECTIONS: usize = 20_000 / AT_A_TIME * AT_A_TIME + AT_A_TIME;
    let server = start(&[]);
    drop(welcomed(&server));
    let before = peak_memory_kb(&server);
    let start = Instant::now();
    let churn = || {
        for _ in 0..CONNECTIONS / AT_A_TIME {
            let mut stream = server.connect();
            stream.write_all(b"quit\n").expect("sent");
            let expected = format!("{WELCOME}Thank You .. See You soon !! \n");
            assert_eq!(rest_of(stream), expected);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(churn);
        }
    });
    let took = start.elapsed();
    let grown = peak_memory_kb(&server) - before;
    wait_for(&server, OPEN, 0);
    let what = format!(
        "connections failed of {CONNECTIONS}, {AT_A_TIME} at a time, in {}",
        seconds(took)
    );
    record("T15", "memory", format!("{grown} kB"));
    record("T15", &what, 0);
    assert!(grown <= 2048, "the server grew by {grown} kB");
}
