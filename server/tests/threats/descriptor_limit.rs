//! T13: the soft and hard limits of open files (RLIMIT_NOFILE), with one worker and with many.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::load::can_open;
use crate::{
    ADMIN, FLAGS, FULL, OPEN, ServerProcess, WELCOME, isolated, metric, read_line, read_to_eof,
    record,
};

/// Returns a command that runs the shell command `limit`, then the server with these flags.
fn limited(limit: &str, flags: &[&str]) -> Command {
    let mut command = isolated("sh");
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
fn t13_the_soft_descriptor_limit_is_raised_to_the_hard_limit() {
    let server = ServerProcess::spawn(&mut limited("ulimit -Sn 64", &[]), 3);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id()));
    let limits = limits.expect("a process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.expect("a limit").split_whitespace().skip(3);
    assert_eq!(words.next(), words.next(), "soft and hard limit");
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
        let server = ServerProcess::spawn(command, 3);
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        let (mut served, mut refused) = (Vec::new(), 0);
        for client in clients {
            match read_line(&client).as_str() {
                WELCOME => served.push(client),
                FULL => {
                    assert_eq!(read_to_eof(client), "");
                    refused += 1;
                }
                line => panic!("{line}"),
            }
        }
        assert_eq!(metric(&server, OPEN), served.len() as u64);
        record(
            "T13",
            &format!(
                "served and refused of {CLIENTS} clients, with 1,024 descriptors and --workers {workers}"
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
fn t13_too_low_a_descriptor_limit_is_a_startup_error() {
    for (limit, workers) in [(64, 64), (64, 6), (100, 100_000_000)] {
        let command = &mut limited(
            &format!("ulimit -n {limit}"),
            &["--workers", &workers.to_string()],
        );
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let start = format!("chime-server: --workers {workers} needs ");
        let reason = format!(" open files, and the limit is {limit} (");
        assert!(
            error.starts_with(&start) && error.contains(&reason),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn t13_reserved_descriptors_suffice_for_workers_and_listeners() {
    let more = [
        "--tcp",
        "127.0.0.1:0",
        "--tcp",
        "127.0.0.1:0",
        "--workers",
        "8",
    ];
    // The minimum limit, from the error message.
    let output = limited("ulimit -n 64", &more).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let needed = error.split_once(" needs ").expect("the minimum").1;
    let needed: u32 = needed
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    // 4 and the sockets for each worker, 32 and the sockets for the process, and two connections.
    let sockets = 4;
    assert_eq!(needed, 8 * (4 + sockets) + 32 + sockets + 2);
    let output = limited(&format!("ulimit -n {}", needed - 1), &more).output();
    assert_eq!(output.expect("it runs").status.code(), Some(1));
    let limit = format!("ulimit -n {needed}");
    let server = ServerProcess::spawn(&mut limited(&limit, &more), 5);
    let client = server.connect();
    assert_eq!(read_line(&client), WELCOME);
    assert_eq!(metric(&server, OPEN), 1);
    assert_eq!(read_to_eof(server.connect()), FULL);
}
