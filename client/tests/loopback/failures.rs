//! Servers that fail, are absent, or are hostile, and usage errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chime_protocol::{Framing, Service};

use crate::servers::{
    WELCOME, chime, replying, replying_slowly, sending, tcp, udp, unused_address, welcoming_slowly,
};
#[cfg(unix)]
use crate::terminal::{self, Terminal};
use crate::{Outcome, client, run, run_with_input, wait};

/// Runs `day`, and asserts that it fails with one line that starts with `start`.
#[track_caller]
fn assert_fails(server: SocketAddr, options: &str, exit_code: i32, start: &str) -> String {
    let outcome = run(&format!("day --server {server} {options}"));
    assert_eq!(outcome.exit_code, Some(exit_code), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    let line = outcome.stderr.strip_suffix('\n').expect("a line");
    assert!(line.chars().all(|letter| !letter.is_control()), "{line:?}");
    assert!(line.starts_with(start), "{line}");
    line.to_owned()
}

#[test]
fn a_full_server_is_reported() {
    let server = sending(b"The server is full, please try again later\n", true);
    let start = format!("chime-client: {server}: the server is full; ");
    assert_fails(server, "", 1, &start);
}

#[test]
fn a_usage_error_is_exit_code_2() {
    for arguments in [
        "sum",
        "sum 12a",
        "sum -5",
        "send",
        "what",
        "day nowhere",
        "--udp",
        "--udp help",
        "--udp sum 1",
        "--udp send day",
        "-4 -6 day",
        "--timeout soon day",
        "--timeout 0s day",
        "--server :9990 day",
        "--server 127.0.0.1:0 day",
        "--server 127.0.0.1:65536 day",
        "--server [::1 day",
        "--server [::1]9990 day",
        "--server [localhost]:9990 day",
        "--server a:b:c day",
        "--udp --server tcp://localhost day",
        "--server udp://localhost help",
        "--server udp://localhost sum 1",
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.exit_code, Some(2), "{arguments}");
        assert_eq!(outcome.stdout, "", "{arguments}");
        assert!(outcome.stderr.starts_with("error: "), "{arguments}");
    }
    for [command, text] in [["send", "day\n"], ["sum", "1\n"], ["sum", ""], ["sum", "²"]] {
        let outcome = run_with_input(client("").args([command, text]), "");
        assert_eq!(outcome.exit_code, Some(2), "{command} {text:?}");
    }
}

#[test]
fn an_invalid_option_is_reported_with_a_reason() {
    for (arguments, reason) in [
        (
            "day --server http://localhost:9990",
            "the scheme must be chime://, tcp:// or udp://",
        ),
        (
            "day --server tcp://localhost --udp",
            "--udp contradicts the scheme tcp://",
        ),
        ("day --timeout 0s", "must be longer than zero"),
        (
            "day --timeout 10000000000000000000s",
            "must be at most 100 years",
        ),
        (
            "day --timeout 100000000000000000000s",
            "number is too large",
        ),
        (
            "bench --timeout 10000000000000000000s",
            "must be at most 100 years",
        ),
        (
            "bench --duration 10000000000000000000s",
            "must be at most 100 years",
        ),
        (
            "bench --warm-up 10000000000000000000s",
            "must be at most 100 years",
        ),
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.exit_code, Some(2), "{arguments}");
        assert!(outcome.stderr.starts_with("error: "), "{arguments}");
        assert!(outcome.stderr.contains(reason), "{arguments}: {outcome:?}");
    }
    let long = run_with_input(client("day").env("CHIME_TIMEOUT", "100years 1ns"), "");
    assert!(
        long.stderr.contains("must be at most 100 years"),
        "{long:?}"
    );
}

#[test]
fn a_mistyped_name_gets_a_suggestion() {
    for (arguments, tip) in [
        ("dya", "a similar subcommand exists: 'day'"),
        ("DYA", "a similar subcommand exists: 'day'"),
        ("dat", "some similar subcommands exist: 'day', 'date'"),
        ("nwo", "a similar subcommand exists: 'now'"),
        ("bnech", "a similar subcommand exists: 'bench'"),
        ("12345", "a similar subcommand exists: 'sum 12345'"),
        ("Quit", "a similar subcommand exists: 'send Quit'"),
        ("day --upd", "a similar argument exists: '--udp'"),
        ("day --josn", "a similar argument exists: '--json'"),
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.exit_code, Some(2), "{arguments}");
        let tips: Vec<_> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("tip:"))
            .collect();
        assert_eq!(tips, [format!("  tip: {tip}")], "{arguments}: {outcome:?}");
    }
    assert!(!run("foo").stderr.contains("similar"));
}

#[test]
fn a_refused_connection_names_the_server() {
    let server = unused_address();
    let line = assert_fails(server, "", 3, "chime-client: cannot connect to ");
    assert_eq!(
        line,
        format!(
            "chime-client: cannot connect to {server}: connection refused; \
             is chime-server running there?"
        )
    );
}

#[test]
fn the_default_server_has_the_address_family_asked_for() {
    let port = unused_address().port();
    for (option, host) in [("", "127.0.0.1"), ("-4", "127.0.0.1"), ("-6", "[::1]")] {
        let outcome = run(&format!("{option} -p {port} day"));
        let start = format!("chime-client: cannot connect to {host}:{port}: ");
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
    }
}

#[test]
fn a_refused_datagram_names_the_server() {
    let server = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let start = format!("chime-client: cannot connect to {server}: connection refused; ");
    let started_at = Instant::now();
    assert_fails(server, "--udp --timeout 300ms", 3, &start);
    assert!(started_at.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_default_port_depends_on_the_transport() {
    // Nothing is sent: this is not an IPv6 address.
    for (options, server) in [("", "127.0.0.1:9990"), ("--udp", "127.0.0.1:8089")] {
        let outcome = run(&format!("day -6 --server 127.0.0.1 {options}"));
        let start = format!("chime-client: cannot find {server}: ");
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
    }
}

#[test]
fn an_address_of_the_wrong_family_is_not_used() {
    // Nothing is sent, so no server is needed.
    for (server, option) in [("127.0.0.1:9990", "-6"), ("[::1]:9990", "-4")] {
        let server: SocketAddr = server.parse().unwrap();
        let start = format!("chime-client: cannot find {server}: ");
        assert_fails(server, option, 3, &start);
    }
}

#[test]
fn t19_a_close_by_the_server_is_an_error() {
    for server in [sending(b"", true), sending(WELCOME, true), tcp(drop)] {
        let start = format!("chime-client: {server}: the server closed the connection; ");
        assert_fails(server, "", 3, &start);
    }
}

#[test]
fn t19_a_silent_server_times_out() {
    for server in [sending(b"", false), sending(WELCOME, false)] {
        let started_at = Instant::now();
        let start = format!("chime-client: {server}: no reply within 300ms; ");
        assert_fails(server, "--timeout 300ms", 4, &start);
        assert!(started_at.elapsed() >= Duration::from_millis(300));
    }
    let server = udp(&[]);
    let start = format!("chime-client: {server}: no reply within 300ms; ");
    assert_fails(server, "--udp --timeout 300ms", 4, &start);
}

#[test]
fn t19_a_reply_written_byte_by_byte_times_out() {
    for (server, arguments) in [
        (welcoming_slowly(), "day"),
        (replying_slowly(b"Saturday\n"), "day"),
        (replying_slowly(b"1000000\n"), "sum 1"),
        (replying_slowly(b"1000000\n"), "sum -"),
        (replying_slowly(b"1000000\n"), ""),
        (welcoming_slowly(), "bench --connections 1"),
        (
            replying_slowly(b"Saturday\n"),
            "bench --connections 1 --requests 1",
        ),
    ] {
        let mut command = client(&format!("--server {server} --timeout 300ms {arguments}"));
        let outcome = run_with_input(&mut command, "1\n");
        assert_eq!(outcome.exit_code, Some(4), "{arguments}: {outcome:?}");
        let start = format!("chime-client: {server}: ");
        assert!(
            outcome.stderr.starts_with(&start),
            "{arguments}: {outcome:?}"
        );
    }
}

#[test]
fn t19_a_server_with_the_framing_read_is_recognised() {
    let server = chime(Service::Both, Framing::Read);
    let line = assert_fails(server, "--timeout 300ms", 4, "chime-client: ");
    assert!(line.contains("--framing read"), "{line}");
}

#[test]
fn t19_a_server_of_another_protocol_is_recognised() {
    static ENDLESS: [u8; 1 << 20] = [b'x'; 1 << 20];
    for server in [
        sending(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            true,
        ),
        sending(b"SSH-2.0-OpenSSH_10.0\r\n", false),
        sending(b"15\n", false),
        sending(b"\n", false),
        sending(b"\xff\xfe\0\n", false),
        sending(b"\x1b[2J\x1b]0;title\x07Welcome\x08\n", false),
        replying(b"15\n"),
        replying(b"\x1b[31mSaturday\n"),
        replying(b"Saturday\r\n"),
        replying(&ENDLESS),
    ] {
        let line = assert_fails(server, "", 5, &format!("chime-client: {server}: un"));
        assert!(line.len() < 500, "{line}");
    }
    for server in [
        udp(&[&[b"15"]]),
        udp(&[&[b"\x1b[31m"]]),
        udp(&[&[b"06:32:06"]]),
    ] {
        assert_fails(server, "--udp", 5, &format!("chime-client: {server}: un"));
    }
}

#[test]
fn a_closed_output_ends_the_client_silently() {
    let (sender, receiver) = mpsc::channel::<()>();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let _ = receiver.recv();
        stream.write_all(b"Saturday\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut child = client(&format!("day --server {server}")).spawn().unwrap();
    drop(child.stdout.take());
    drop(sender);
    assert_eq!(wait(child), Outcome::success(""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_failing_output_is_named() {
    let server = chime(Service::Both, Framing::Line);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = client(&format!("day --server {server}"));
    let outcome = run_with_input(command.stdout(full), "");
    assert_eq!(outcome.exit_code, Some(2));
    let start = "chime-client: cannot write standard output: no space left on device; ";
    assert!(outcome.stderr.starts_with(start), "{outcome:?}");
}

#[cfg(unix)]
#[test]
fn errors_are_coloured_on_a_terminal_unless_no_color_is_set() {
    for (no_color, is_coloured) in [("", true), ("1", false)] {
        let client = terminal::client("what", "coloured").env("NO_COLOR", no_color);
        let mut terminal = Terminal::start(client);
        terminal.wait_for("the error", |lines| {
            lines.iter().any(|line| line.starts_with("error: "))
        });
        let colour = terminal.cell("error: ").fgcolor();
        assert_eq!(colour != vt100::Color::Default, is_coloured, "{no_color:?}");
    }
}
