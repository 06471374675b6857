//! T16: the signals that begin a graceful shutdown.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::{
    FLAGS, ServerProcess, assert_serves, command, connect_and_read_welcome, isolated, start,
};

#[test]
fn t16_each_shutdown_signal_drains() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let server = start(&["--drain-delay", "300ms"]);
        let client = connect_and_read_welcome(&server);
        let start = Instant::now();
        server.signal(signal);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{signal}");
        drop(client);
    }
}

#[test]
fn t16_two_simultaneous_signals_are_one_shutdown() {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let server = start(&["--drain-delay", "300ms"]);
        let start = Instant::now();
        // While the process is stopped both signals become pending; SIGCONT delivers them together.
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
fn t16_a_sighup_ignored_at_startup_stays_ignored() {
    let mut nohup = isolated("sh");
    nohup
        .args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_chime-server"))
        .args(FLAGS)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = ServerProcess::spawn(&mut nohup, 2);
    server.signal(Signal::SIGHUP);
    assert_serves(&server);
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.matches("stopping: ").count(), 1, "{log}");

    let server = ServerProcess::spawn(&mut command(&FLAGS), 2);
    server.signal(Signal::SIGHUP);
    assert_eq!(server.wait().0.code(), Some(0));
}
