//! T16: which signals stop a server, and which of them force it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::{FLAGS, Server, assert_serves, command, start, welcomed};

#[test]
fn t16_each_signal_to_stop_drains() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let server = start(&["--drain-delay", "300ms"]);
        let client = welcomed(&server);
        let start = Instant::now();
        server.signal(signal);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{signal}");
        drop(client);
    }
}

#[test]
fn t16_two_signals_at_once_are_one_stop() {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let server = start(&["--drain-delay", "300ms"]);
        let start = Instant::now();
        // While it is stopped, both become pending; it gets them at the same instant.
        server.signal(Signal::SIGSTOP);
        server.signal(signals[first]);
        server.signal(signals[second]);
        server.signal(Signal::SIGCONT);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{log}");
    }
}

#[test]
fn t16_a_hangup_that_was_ignored_from_the_start_on_stays_ignored() {
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_chime-server"))
        .args(FLAGS)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = Server::spawn(&mut nohup, 2);
    server.signal(Signal::SIGHUP);
    assert_serves(&server);
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.matches("stopping: ").count(), 1, "{log}");

    let server = Server::spawn(&mut command(&FLAGS), 2);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.wait().0.code(), Some(0));
}
