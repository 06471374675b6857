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

use crate::stand_in::{WELCOME, answering, chime, nobody, tcp};
#[cfg(unix)]
use crate::terminal::{self, Terminal};
use crate::{Ended, client, run_with_input, wait};

/// Far more than is kept in memory, and no multiple of a block.
const MANY: usize = (64 << 20) + 7;
/// The most memory that a client may use, however many digits there are. Only Linux tells.
#[cfg(target_os = "linux")]
const PEAK_KIB_MAX: u64 = 32 << 10;

/// A file that is written anew for the test of that name.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).expect("there is room for it");
    path
}

/// Digits that differ from block to block, and their sum.
fn many_digits() -> (Vec<u8>, u64) {
    let digits: Vec<u8> = b"1234567".iter().copied().cycle().take(MANY).collect();
    let sum = digits.iter().map(|digit| u64::from(digit - b'0')).sum();
    (digits, sum)
}

/// The client that is to sum the file.
fn summing(server: SocketAddr, file: &PathBuf) -> Command {
    let mut command = client(&format!("--server {server} sum --file"));
    command.arg(file);
    command
}

/// Sums a file with the content, and then standard input with it, which must not differ but in name.
#[track_caller]
fn sum(server: SocketAddr, name: &str, content: &[u8]) -> Ended {
    let path = file(name, content);
    let ended = run_with_input(&mut summing(server, &path), "");
    let piped = run_with_input(&mut client(&format!("--server {server} sum -")), content);
    let renamed = Ended {
        stderr: ended
            .stderr
            .replace(&path.display().to_string(), "standard input"),
        ..ended
    };
    assert_eq!(renamed, piped);
    piped
}

/// The most memory in KiB that the process has used so far, if it is still there.
#[cfg(target_os = "linux")]
fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Waits for the client and sees that it uses little memory until it ends.
#[track_caller]
fn wait_for_a_small_one(child: Child) -> Ended {
    #[cfg(target_os = "linux")]
    {
        let process = child.id();
        let start = std::time::Instant::now();
        let mut peak = None;
        while let Some(now) = peak_kib(process) {
            peak = Some(now);
            assert!(start.elapsed() < crate::PATIENCE, "the client ends");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(peak.is_some(), "it has been seen");
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
    let ended = wait_for_a_small_one(child);
    assert_eq!(ended, Ended::answered(&format!("{sum}\n")));
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
    let ended = wait_for_a_small_one(child);
    assert_eq!(ended, Ended::answered(&format!("{sum}\n")));
}

#[test]
fn white_space_at_the_end_does_not_count() {
    let server = chime(Service::Both, Framing::Line);
    for content in ["12345", "12345\n", "12345\r\n", "12345 \t\r\n\n"] {
        let ended = sum(server, "white_space_at_the_end", content.as_bytes());
        assert_eq!(ended, Ended::answered("15\n"), "{content:?}");
    }
}

#[test]
fn what_is_no_digit_is_told_with_its_place() {
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
        let ended = sum(server, "what_is_no_digit", content);
        let line = format!(
            "chime-client: standard input: byte '{byte}' at offset {offset} is not a digit; \
             only the digits 0 to 9 are allowed, and white space at the end\n"
        );
        assert_eq!((ended.exit_code, &*ended.stdout), (Some(2), ""));
        assert_eq!(ended.stderr, line);
    }
}

#[test]
fn what_is_no_digit_is_told_however_far_in() {
    let server = chime(Service::Both, Framing::Line);
    let mut content = vec![b'7'; 1 << 20];
    content.extend(b"/7");
    let ended = sum(server, "however_far_in", &content);
    assert_eq!((ended.exit_code, &*ended.stdout), (Some(2), ""));
    assert!(
        ended.stderr.contains("byte '/' at offset 1048576 "),
        "{ended:?}"
    );
}

#[test]
fn no_digits_have_no_sum() {
    let server = chime(Service::Both, Framing::Line);
    for content in ["", "\r\n"] {
        let ended = sum(server, "no_digits", content.as_bytes());
        let start = "chime-client: standard input: no digits; ";
        assert_eq!((ended.exit_code, &*ended.stdout), (Some(2), ""));
        assert!(ended.stderr.starts_with(start), "{ended:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (path, cause) in [
        (folder.join("missing"), "no such file or directory"),
        (folder, "is a directory"),
    ] {
        let ended = run_with_input(&mut summing(nobody(), &path), "");
        assert_eq!((ended.exit_code, &*ended.stdout), (Some(2), ""));
        let path = path.display();
        let line = format!("chime-client: cannot read {path}: {cause}; is it the right file?\n");
        assert_eq!(ended.stderr, line);
    }
    let ended = run_with_input(&mut summing(nobody(), &PathBuf::from("\x1b[31m\n")), "");
    assert!(
        ended
            .stderr
            .starts_with("chime-client: cannot read \\u{1b}[31m\\n: ")
    );
}

#[test]
fn a_sum_has_one_source() {
    for arguments in ["sum 1 --file 1", "sum - --file 1", "sum - 1", "sum - --udp"] {
        let ended = crate::run(arguments);
        assert_eq!((ended.exit_code, &*ended.stdout), (Some(2), ""));
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
}

#[test]
fn a_server_does_not_wait_for_digits_that_have_not_come() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap();
    let mut command = client(&format!("--server {server} sum -"));
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"12").unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(listener.accept().is_err(), "nothing can be sent yet");
    listener.set_nonblocking(false).unwrap();
    stdin.write_all(b"345").unwrap();
    drop(stdin);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(WELCOME).unwrap();
    let mut line = [0; 6];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"12345\n");
    stream.write_all(b"15\n").unwrap();
    assert_eq!(wait(child), Ended::answered("15\n"));
}

#[test]
fn a_line_that_is_cut_is_told() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        stream.read_exact(&mut [0; 1 << 17]).expect("digits");
    });
    let path = file("a_line_that_is_cut", &[b'7'; 32 << 20]);
    let ended = run_with_input(&mut summing(server, &path), "");
    assert_eq!((ended.exit_code, &*ended.stdout), (Some(3), ""));
    let start = format!("chime-client: {server}: the server closed the connection before ");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
}

#[test]
fn an_answer_that_is_no_sum_is_none() {
    let path = file("an_answer_that_is_no_sum", b"12345");
    let server = chime(Service::DateTime, Framing::Line);
    let ended = run_with_input(&mut summing(server, &path), "");
    let reply = "You entered an invalid command\n";
    assert_eq!((ended.exit_code, &*ended.stdout), (Some(1), reply));
    let ended = run_with_input(&mut summing(answering(b"Saturday\n"), &path), "");
    assert_eq!((ended.exit_code, &*ended.stdout), (Some(5), ""));
}

/// Takes digits slowly, for as long as it takes to see that the sender is alive, then answers.
fn slow(is_seen: Receiver<()>) -> SocketAddr {
    tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
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
        stream.write_all(b"15\n").expect("the client takes it");
    })
}

#[cfg(unix)]
#[test]
fn a_bar_on_a_terminal_tells_how_far_it_is_and_goes_away() {
    let (seen, is_seen) = mpsc::channel();
    let path = file("a_bar", &[b'7'; 64 << 20]);
    let arguments = format!("--server {} sum --file", slow(is_seen));
    let client = terminal::client(&arguments, "a_bar").arg(&path);
    let mut terminal = Terminal::start(client);
    terminal.wait_for("a bar", |lines| {
        lines.len() == 1
            && ["[", "] ", " MiB/64.00 MiB ", " MiB/s, ", " left"]
                .iter()
                .all(|part| lines[0].contains(part))
    });
    drop(seen);
    assert_eq!(terminal.end(), (Some(0), "15".to_owned()));
    fs::remove_file(path).unwrap();
}

#[test]
fn there_is_no_bar_but_on_a_terminal() {
    let (seen, is_seen) = mpsc::channel();
    let path = file("no_bar", &[b'7'; 64 << 20]);
    let child = summing(slow(is_seen), &path).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    drop(seen);
    assert_eq!(wait(child), Ended::answered("15\n"));
    fs::remove_file(path).unwrap();
}
