//! T13: limits of open files, soft and hard, with one worker and with many.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::load::can_open;
use crate::{ADMIN, FLAGS, FULL, OPEN, Server, WELCOME, metric, read_line, record, rest_of};

/// The server with these flags, after these commands of a shell.
fn limited(limit: &str, flags: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!(r#"{limit} && exec "$0" "$@""#)])
        .arg(env!("CARGO_BIN_EXE_chime-server"))
        .args(FLAGS)
        .args(ADMIN)
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn t13_the_soft_limit_is_raised_to_the_hard_one() {
    let server = Server::spawn(&mut limited("ulimit -Sn 64", &[]), 3);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id()));
    let limits = limits.expect("a process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.expect("a limit").split_whitespace().skip(3);
    assert_eq!(words.next(), words.next(), "soft and hard");
    let clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &clients {
        assert_eq!(read_line(client), WELCOME);
    }
}

#[test]
fn t13_every_client_is_served_or_refused_in_text() {
    const CLIENTS: usize = 980;
    if !can_open(CLIENTS as u64) {
        return;
    }
    for workers in ["1", "16"] {
        let command = &mut limited("ulimit -n 1024", &["--workers", workers]);
        let server = Server::spawn(command, 3);
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        let (mut served, mut refused) = (Vec::new(), 0);
        for client in clients {
            match read_line(&client).as_str() {
                WELCOME => served.push(client),
                FULL => {
                    assert_eq!(rest_of(client), "");
                    refused += 1;
                }
                line => panic!("{line}"),
            }
        }
        assert_eq!(metric(&server, OPEN), served.len() as u64);
        record(
            "T13",
            &format!(
                "of {CLIENTS} clients served and refused, with 1,024 descriptors and {workers} workers"
            ),
            format!("{}, {refused}", served.len()),
        );
        server.signal(Signal::SIGTERM);
        drop(served);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn t13_workers_that_cannot_have_their_descriptors_are_an_error_before_anything_is_served() {
    for (limit, workers) in [(64, 64), (64, 6), (100, 100_000_000)] {
        let command = &mut limited(
            &format!("ulimit -n {limit}"),
            &["--workers", &workers.to_string()],
        );
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!(
            "chime-server: cannot start {workers} workers: the limit on open files is {limit}, "
        );
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn t13_workers_and_listeners_take_no_more_descriptors_than_are_reserved() {
    let more = [
        "--tcp",
        "127.0.0.1:0",
        "--tcp",
        "127.0.0.1:0",
        "--workers",
        "8",
    ];
    // The least limit with which it starts, by what it says it needs.
    let output = limited("ulimit -n 64", &more).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let needed = error.split_once("they need ").expect("a need").1;
    let needed: u32 = needed
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    let output = limited(&format!("ulimit -n {}", needed - 1), &more).output();
    assert_eq!(output.expect("it runs").status.code(), Some(1));
    let limit = format!("ulimit -n {needed}");
    let server = Server::spawn(&mut limited(&limit, &more), 5);
    let client = server.connect();
    assert_eq!(read_line(&client), WELCOME);
    assert_eq!(metric(&server, OPEN), 1);
    assert_eq!(rest_of(server.connect()), FULL);
}
