//! T24: a log that blocks or fails to be written.

use std::fs::OpenOptions;
use std::io::{PipeReader, Write, pipe};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::descriptors::descriptors;
use crate::{
    ADMIN, FLAGS, ServerProcess, WELCOME, assert_serves, connect_and_read_welcome, isolated,
    limit_descriptors, metric, wait_for_metric, wait_until, write_until_blocked,
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
    /// Opens the sink, and the reading end of a full pipe, which is never read.
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

    /// Starts a server that logs to the sink, with a limit of 64 file descriptors.
    fn server(self, flags: &[&str]) -> (ServerProcess, Option<PipeReader>) {
        let (stderr, reader) = self.open();
        let mut command = isolated("sh");
        command
            .args(["-c", r#"ulimit -n 64; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_chime-server"))
            .args(FLAGS)
            .args(ADMIN)
            .args(["--workers", "2", "--log", "debug"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(stderr);
        (ServerProcess::spawn(&mut command, 3), reader)
    }
}

/// Asserts that the server shuts down gracefully, after the drain delay.
fn assert_drains(server: ServerProcess, sink: Sink) {
    assert_serves(&server);
    let start = Instant::now();
    server.signal(Signal::SIGTERM);
    let status = server.wait().0;
    assert_eq!(status.code(), Some(0), "{sink:?}");
    assert!(start.elapsed() >= DRAIN_DELAY, "{sink:?}: no drain delay");
}

#[test]
fn t24_an_unwritable_log_does_not_affect_shutdown() {
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        assert_drains(server, sink);
    }
}

#[test]
fn t24_an_unwritable_log_ends_no_worker_when_clients_reset() {
    // Fewer than the connection limit.
    const RESETS: u64 = 10;
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        for _ in 0..RESETS {
            let mut stream = connect_and_read_welcome(&server);
            stream.write_all(b"half a line").expect("sent");
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .expect("set");
        }
        wait_for_metric(
            &server,
            "chime_connections_total{outcome=\"failed\"}",
            RESETS,
        );
        if sink != Sink::FullPipe {
            wait_until("dropped lines are counted", || {
                metric(&server, "chime_log_lines_dropped_total") >= RESETS
            });
        }
        assert_drains(server, sink);
    }
}

#[test]
fn t24_an_unwritable_log_ends_no_worker_when_accept_fails() {
    const LIMIT: u32 = 40;
    for sink in SINKS {
        let (server, _reader) = sink.server(&["--drain-delay", "300ms"]);
        assert_serves(&server);
        limit_descriptors(&server, LIMIT);
        wait_until("accept fails", || {
            let held: Vec<_> = (0..100).map(|_| server.connect()).collect();
            wait_until("no descriptor is left", || {
                // An inherited descriptor may be above the limit.
                descriptors(&server) >= LIMIT as usize
            });
            // The admin endpoints need one, too.
            drop(held);
            metric(&server, "chime_accept_errors_total") > 0
        });
        let expected = format!("{WELCOME}15\n");
        wait_until("the server recovers", || {
            server.replies_to("12345\n") == expected
        });
        assert_drains(server, sink);
    }
}

#[test]
fn t24_an_unwritable_log_does_not_delay_a_second_signal() {
    for sink in SINKS {
        let (mut server, _reader) = sink.server(&["--drain-timeout", "1h"]);
        let mut stream = server.connect();
        // Unread replies keep the drain from ending.
        write_until_blocked(&mut stream, &b"help\n".repeat(1_000_000));
        server.signal(Signal::SIGTERM);
        let status = server.signal_until_exit(Signal::SIGTERM);
        assert_eq!(status.code(), Some(1), "{sink:?}");
    }
}
