//! T18: log injection and log floods.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::{
    COMMAND_ERROR, IGNORED, OPEN, ServerProcess, WELCOME, metric, record, start, wait_for_metric,
    wait_until,
};

/// Bytes that would clear a terminal, forge a log line and terminate a string.
const CONTROL: &[u8] = b"\x1b[2J\x1b]0;chime\x07 \r2026-11-21T06:32:06Z ERROR forged\0\x08\x9b";

/// Shuts down the server, and returns its log.
fn log_of(server: ServerProcess) -> String {
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

#[test]
fn t18_no_control_byte_of_a_client_is_logged() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threats");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("proxies.toml");
    let table = "[[listener]]\naddress = \"127.0.0.1:0\"\ntransport = \"tcp\"\nproxies = [\"127.0.0.0/8\"]\n";
    fs::write(&config, table).expect("written");
    let config = config.to_str().expect("a path in UTF-8");
    let mut lines = 0;
    for format in ["text", "json"] {
        let flags = [
            "--log",
            "debug",
            "--log-format",
            format,
            "--line-timeout",
            "200ms",
        ];
        let proxied = ServerProcess::spawn(
            crate::command(&["--config", config, "--admin", "127.0.0.1:0"]).args(flags),
            2,
        );
        let mut stream = proxied.connect();
        stream
            .write_all(&[b"PROXY ", CONTROL, b"\r\n"].concat())
            .expect("sent");
        // The server closes the connection silently, possibly with a reset.
        let _ = stream.read(&mut [0]);

        let server = start(&flags);
        let line = [CONTROL, b"\n"].concat();
        assert_eq!(server.replies_to(line), format!("{WELCOME}{COMMAND_ERROR}"));
        server.udp_client().send(CONTROL).expect("sent");
        wait_for_metric(&server, IGNORED, 1);
        // A reset connection and a slow writer: both are logged at debug level.
        let mut reset = server.connect();
        reset.write_all(CONTROL).expect("sent");
        SockRef::from(&reset)
            .set_linger(Some(Duration::ZERO))
            .expect("set");
        drop(reset);
        let mut slow = server.connect();
        slow.write_all(CONTROL).expect("sent");
        // The server may reset the connection.
        let _ = slow.read_to_end(&mut Vec::new());
        wait_until("all connections are closed", || metric(&server, OPEN) == 0);
        for log in [log_of(proxied), log_of(server)] {
            let control = log.chars().find(|char| char.is_control() && *char != '\n');
            assert_eq!(control, None, "{log:?}");
            assert!(!log.contains("forged"), "{log}");
            lines += log.lines().count();
        }
    }
    record(
        "T18",
        &format!("control bytes in {lines} log lines at debug level"),
        0,
    );
}

#[test]
fn t18_a_flood_of_invalid_lines_is_counted_and_not_logged() {
    const LINES: usize = 100_000;
    let server = start(&[]);
    let invalid = [CONTROL, b"\n"].concat().repeat(100);
    let mut stream = server.connect();
    assert_eq!(crate::read_line(&stream), WELCOME);
    for _ in 0..LINES / 100 {
        stream.write_all(&invalid).expect("sent");
        let mut errors = vec![0; 100 * COMMAND_ERROR.len()];
        stream.read_exact(&mut errors).expect("errors");
        assert!(errors == COMMAND_ERROR.repeat(100).as_bytes());
    }
    let socket = server.udp_client();
    for _ in 0..1000 {
        socket.send(CONTROL).expect("sent");
    }
    assert_eq!(
        metric(&server, "chime_requests_total{command=\"invalid\"}"),
        LINES as u64
    );
    let log = log_of(server);
    record(
        "T18",
        &format!("log lines for {LINES} invalid lines"),
        log.lines().count(),
    );
    assert!(log.lines().count() <= 20, "{log}");
}
