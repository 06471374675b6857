//! Sums of the digits of a file or of standard input.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};

use crate::servers::{WELCOME, chime, replying, tcp, unused_address};
#[cfg(unix)]
use crate::terminal::{self, Terminal};
use crate::{Outcome, client, run_with_input, wait};

/// Far more digits than the client buffers, and not a multiple of its block.
const MANY: usize = (64 << 20) + 7;
/// The memory limit of a client, for any number of digits. It is measured on Linux only.
#[cfg(target_os = "linux")]
const PEAK_KIB_MAX: u64 = 32 << 10;

/// Writes the file of the test `name`.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("disk space");
    path
}

/// Returns digits that differ between blocks, and their sum.
fn many_digits() -> (Vec<u8>, u64) {
    let digits: Vec<u8> = b"1234567".iter().copied().cycle().take(MANY).collect();
    let sum = digits.iter().map(|digit| u64::from(digit - b'0')).sum();
    (digits, sum)
}

/// Returns the client that sums `file`.
fn summing(server: SocketAddr, file: &PathBuf) -> Command {
    let mut command = client(&format!("--server {server} sum --file"));
    command.arg(file);
    command
}

/// Sums `content` from a file and from standard input, and asserts that the outcomes differ in the name only.
#[track_caller]
fn sum(server: SocketAddr, name: &str, content: &[u8]) -> Outcome {
    let path = file(name, content);
    let outcome = run_with_input(&mut summing(server, &path), "");
    let piped = run_with_input(&mut client(&format!("--server {server} sum -")), content);
    let renamed = Outcome {
        stderr: outcome
            .stderr
            .replace(&path.display().to_string(), "standard input"),
        ..outcome
    };
    assert_eq!(renamed, piped);
    piped
}

/// Returns the peak memory of a process in KiB, if it still runs.
#[cfg(target_os = "linux")]
fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Waits for the client, and asserts that its peak memory is below the limit.
#[track_caller]
fn wait_and_check_memory(child: Child) -> Outcome {
    #[cfg(target_os = "linux")]
    {
        let process = child.id();
        let start = std::time::Instant::now();
        let mut peak = None;
        while let Some(now) = peak_kib(process) {
            peak = Some(now);
            assert!(start.elapsed() < crate::TEST_TIMEOUT, "the client exits");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(peak.is_some(), "the memory has been measured");
        assert!(peak < Some(PEAK_KIB_MAX), "{peak:?} KiB");
    }
    wait(child)
}

#[test]
fn a_file_of_any_size_is_summed_in_constant_memory() {
    let server = chime(Service::Both, Framing::Line);
    let (digits, sum) = many_digits();
    let path = file("a_file_of_any_size", &digits);
    let child = summing(server, &path).spawn().unwrap();
    let outcome = wait_and_check_memory(child);
    assert_eq!(outcome, Outcome::success(&format!("{sum}\n")));
    fs::remove_file(path).unwrap();
}

#[test]
fn standard_input_of_any_size_is_summed_in_constant_memory() {
    let server = chime(Service::Both, Framing::Line);
    let (digits, sum) = many_digits();
    let mut command = client(&format!("--server {server} sum -"));
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || stdin.write_all(&digits));
    let outcome = wait_and_check_memory(child);
    assert_eq!(outcome, Outcome::success(&format!("{sum}\n")));
}

#[test]
fn white_space_at_the_end_is_ignored() {
    let server = chime(Service::Both, Framing::Line);
    for content in ["12345", "12345\n", "12345\r\n", "12345 \t\r\n\n"] {
        let outcome = sum(server, "white_space_at_the_end", content.as_bytes());
        assert_eq!(outcome, Outcome::success("15\n"), "{content:?}");
    }
}

#[test]
fn white_space_between_digits_is_ignored_on_request() {
    let server = chime(Service::Both, Framing::Line);
    let path = file("white_space_between_digits", b"12 3\n\n45\n");
    for arguments in [
        "sum -",
        "sum --file -",
        &format!("sum --file {}", path.display()),
    ] {
        let arguments = format!("--server {server} {arguments} --ignore-whitespace");
        let outcome = run_with_input(&mut client(&arguments), "12 3\n\n45\n");
        assert_eq!(outcome, Outcome::success("15\n"), "{arguments}");
    }
    let given = |options: &str| {
        let mut command = client(&format!("--server {server} sum {options}"));
        run_with_input(command.arg(" 12 3\n45"), "")
    };
    assert_eq!(given("--ignore-whitespace"), Outcome::success("15\n"));
    let outcome = given("");
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
    assert!(
        outcome.stderr.contains("--ignore-whitespace"),
        "{outcome:?}"
    );
    let mut command = client(&format!("--server {server} sum - --ignore-whitespace"));
    let outcome = run_with_input(&mut command, "12\n3x");
    let error = "chime-client: standard input: byte 'x' at offset 4 is not a digit; \
                 only the digits 0 to 9 are allowed, and white space\n";
    assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(2), error));
}

#[test]
fn a_byte_that_is_not_a_digit_is_reported_with_its_offset() {
    let server = chime(Service::Both, Framing::Line);
    for (content, byte, offset) in [
        (&b"x"[..], "x", 0),
        (b"123a5", "a", 3),
        (b" 1", " ", 0),
        (b"12\n34\n", "\\n", 2),
        (b"-5", "-", 0),
        (b"1\xff", "\\xff", 1),
        (b"1\x1b[31m", "\\x1b", 1),
        (b"1\n\0", "\\n", 1),
    ] {
        let outcome = sum(server, "not_a_digit", content);
        let advice = match byte {
            " " | "\\n" => "--ignore-whitespace allows white space between digits",
            _ => "only the digits 0 to 9 are allowed, and white space",
        };
        let line = format!(
            "chime-client: standard input: byte '{byte}' at offset {offset} is not a digit; {advice}\n"
        );
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
        assert_eq!(outcome.stderr, line);
    }
}

#[test]
fn a_byte_that_is_not_a_digit_is_found_at_any_offset() {
    let server = chime(Service::Both, Framing::Line);
    let mut content = vec![b'7'; 1 << 20];
    content.extend(b"/7");
    let outcome = sum(server, "at_any_offset", &content);
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
    assert!(
        outcome.stderr.contains("byte '/' at offset 1048576 "),
        "{outcome:?}"
    );
}

#[test]
fn an_input_without_digits_is_an_error() {
    let server = chime(Service::Both, Framing::Line);
    for content in ["", "\r\n"] {
        let outcome = sum(server, "no_digits", content.as_bytes());
        let start = "chime-client: standard input: no digits; ";
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
        assert!(outcome.stderr.starts_with(start), "{outcome:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (path, cause) in [
        (folder.join("missing"), "no such file or directory"),
        (folder, "is a directory"),
    ] {
        let outcome = run_with_input(&mut summing(unused_address(), &path), "");
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
        let path = path.display();
        let line = format!("chime-client: cannot read {path}: {cause}; is it the right file?\n");
        assert_eq!(outcome.stderr, line);
    }
    let outcome = run_with_input(
        &mut summing(unused_address(), &PathBuf::from("\x1b[31m\n")),
        "",
    );
    assert!(
        outcome
            .stderr
            .starts_with("chime-client: cannot read \\u{1b}[31m\\n: ")
    );
}

#[test]
fn a_sum_has_one_source() {
    for arguments in ["sum 1 --file 1", "sum - --file 1", "sum - 1", "sum - --udp"] {
        let outcome = crate::run(arguments);
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
        assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    }
}

#[test]
fn the_client_connects_once_its_input_is_buffered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap();
    let mut command = client(&format!("--server {server} sum -"));
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"12").unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(
        listener.accept().is_err(),
        "the client connected before its input was complete"
    );
    listener.set_nonblocking(false).unwrap();
    stdin.write_all(b"345").unwrap();
    drop(stdin);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(WELCOME).unwrap();
    let mut line = [0; 6];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"12345\n");
    stream.write_all(b"15\n").unwrap();
    assert_eq!(wait(child), Outcome::success("15\n"));
}

#[test]
fn a_close_within_the_line_is_reported() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        stream.read_exact(&mut [0; 1 << 17]).expect("digits");
    });
    let path = file("a_close_within_the_line", &[b'7'; 32 << 20]);
    let outcome = run_with_input(&mut summing(server, &path), "");
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(3), ""));
    let start = format!("chime-client: {server}: the server closed the connection before ");
    assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
}

#[test]
fn a_reply_that_is_not_a_sum_is_an_error() {
    let path = file("a_reply_that_is_not_a_sum", b"12345");
    let server = chime(Service::DateTime, Framing::Line);
    let outcome = run_with_input(&mut summing(server, &path), "");
    let error = format!("chime-client: {server}: You entered an invalid command\n");
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(1), ""));
    assert_eq!(outcome.stderr, error);
    let outcome = run_with_input(&mut summing(replying(b"Saturday\n"), &path), "");
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(5), ""));
}

/// A server that reads digits slowly until `is_seen` is closed, then replies.
fn reading_slowly(is_seen: Receiver<()>) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        let mut block = [0; 1 << 16];
        loop {
            let length = stream.read(&mut block).expect("digits");
            if block[..length].ends_with(b"\n") {
                break;
            }
            if let Err(mpsc::TryRecvError::Empty) = is_seen.try_recv() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        stream.write_all(b"15\n").expect("the client reads");
    })
}

#[cfg(unix)]
#[test]
fn a_progress_bar_is_shown_on_a_terminal_and_cleared() {
    let (seen, is_seen) = mpsc::channel();
    let path = file("a_bar", &[b'7'; 64 << 20]);
    let arguments = format!("--server {} sum --file", reading_slowly(is_seen));
    let client = terminal::client(&arguments, "a_bar").arg(&path);
    let mut terminal = Terminal::start(client);
    terminal.wait_for("a bar", |lines| {
        lines.len() == 1
            && ["[", "] ", " MiB/64.00 MiB ", " MiB/s, ", " left"]
                .iter()
                .all(|part| lines[0].contains(part))
    });
    drop(seen);
    assert_eq!(terminal.wait(), (Some(0), "15".to_owned()));
    fs::remove_file(path).unwrap();
}

#[test]
fn no_progress_bar_is_shown_without_a_terminal() {
    let (seen, is_seen) = mpsc::channel();
    let path = file("no_bar", &[b'7'; 64 << 20]);
    let child = summing(reading_slowly(is_seen), &path).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    drop(seen);
    assert_eq!(wait(child), Outcome::success("15\n"));
    fs::remove_file(path).unwrap();
}
