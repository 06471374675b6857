//! T24: a log that nobody reads, or that cannot be written.

use std::fs::OpenOptions;
use std::io::{PipeReader, Write, pipe};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::{
    ADMIN, FLAGS, Server, WELCOME, assert_serves, limit_descriptors, metric, wait_for, wait_until,
    welcomed, write_until_stopped,
};

const DRAIN_DELAY: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    FullDevice,
    ClosedPipe,
    FullPipe,
}

const SINKS: [Sink; 3] = [Sink::FullDevice, Sink::ClosedPipe, Sink::FullPipe];

impl Sink {
    /// Opens it. The second value is the reader that reads nothing.
    fn open(self) -> (Stdio, Option<PipeReader>) {
        if self == Sink::FullDevice {
            let device = OpenOptions::new().write(true).open("/dev/full");
            return (device.expect("opened").into(), None);
        }
        let (reader, mut writer) = pipe().expect("a pipe");
        if self == Sink::ClosedPipe {
            return (writer.into(), None);
        }
        let capacity = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("a capacity");
        let capacity = usize::try_from(capacity).expect("not negative");
        writer.write_all(&vec![b'\n'; capacity]).expect("filled");
        (writer.into(), Some(reader))
    }

    /// Starts a server with few file descriptors that logs to it.
    fn server(self, flags: &[&str]) -> (Server, Option<PipeReader>) {
        let (stderr, reader) = self.open();
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"ulimit -n 64; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_chime-server"))
            .args(FLAGS)
            .args(ADMIN)
            .args(["--workers", "2", "--log", "debug"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(stderr);
        (Server::spawn(&mut command, 3), reader)
    }
}

/// Asserts that the server keeps the drain delay and ends well.
fn assert_drains(server: Server, what: &str) {
    assert_serves(&server);
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    let status = server.wait().0;
    assert_eq!(status.code(), Some(0), "{what}");
    assert!(start.elapsed() >= DRAIN_DELAY, "{what}: no drain delay");
}

#[test]
fn t24_a_log_that_cannot_be_written_changes_no_stop() {
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        assert_drains(server, &format!("{sink:?}"));
    }
}

#[test]
fn t24_a_log_that_cannot_be_written_ends_no_worker_when_clients_reset() {
    // Fewer than the connections that the server holds.
    const RESETS: u64 = 10;
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        for _ in 0..RESETS {
            let mut stream = welcomed(&server);
            stream.write_all(b"half a line").expect("sent");
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .expect("set");
        }
        wait_for(
            &server,
            "chime_connections_total{outcome=\"failed\"}",
            RESETS,
        );
        if sink != Sink::FullPipe {
            wait_until("dropped lines are counted", || {
                metric(&server, "chime_log_lines_dropped_total") >= RESETS
            });
        }
        assert_drains(server, &format!("{sink:?}"));
    }
}

#[test]
fn t24_a_log_that_cannot_be_written_ends_no_worker_when_accept_fails() {
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        assert_serves(&server);
        limit_descriptors(&server, 40);
        let held: Vec<_> = (0..100).map(|_| server.connect()).collect();
        wait_until("accept fails", || {
            metric(&server, "chime_accept_errors_total") > 0
        });
        drop(held);
        let expected = format!("{WELCOME}15\n");
        wait_until("it serves again", || server.converse("12345\n") == expected);
        assert_drains(server, &format!("{sink:?}"));
    }
}

#[test]
fn t24_a_log_that_cannot_be_written_delays_no_second_signal() {
    for sink in SINKS {
        let (mut server, _reader) = sink.server(&["--drain-timeout", "1h"]);
        let mut stream = server.connect();
        // Replies that nobody reads keep the server from stopping.
        write_until_stopped(&mut stream, &b"help\n".repeat(1_000_000));
        server.signal(Signal::SIGTERM);
        let status = server.force(Signal::SIGTERM);
        assert_eq!(status.code(), Some(1), "{sink:?}");
    }
}
