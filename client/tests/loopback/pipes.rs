//! Requests from standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};

use crate::servers::{WELCOME, chime, replying, sending, tcp};
use crate::{Outcome, TEST_TIMEOUT, client, run_with_input, wait};

/// Pipes `input` to a client of a real server, and returns the outcome.
fn pipe(service: Service, input: impl Into<Vec<u8>>) -> Outcome {
    let server = chime(service, Framing::Line);
    run_with_input(&mut client(&format!("--server {server}")), input)
}

#[test]
fn replies_are_printed_in_order_and_the_last_line_needs_no_newline() {
    assert_eq!(
        pipe(Service::Both, "day\n12345\r\n \tDATE\nsend time\n99"),
        Outcome::success("Saturday\n15\n26-11-21\n2026-11-21 06:32:06.123456\n18\n")
    );
    assert_eq!(pipe(Service::Both, ""), Outcome::success(""));
}

#[test]
fn an_error_reply_sets_exit_code_1() {
    let replies = Outcome::success("1\nYou entered an invalid command\n2\n");
    let exit_code = Some(1);
    assert_eq!(
        pipe(Service::Both, "1\n\n2\n"),
        Outcome {
            exit_code,
            ..replies
        }
    );
}

#[test]
fn requests_after_quit_are_not_sent() {
    let replies = Outcome::success("1\nThank You .. See You soon !! \n");
    let endless = "2\n".repeat(1 << 20);
    assert_eq!(pipe(Service::Both, format!("1\nquit\n{endless}")), replies);
    assert_eq!(
        pipe(Service::DateTime, "day\nquit\nday\n"),
        Outcome::success("Saturday\n")
    );
}

#[test]
fn a_line_of_many_megabytes_is_summed() {
    let digits = vec![b'7'; 32 << 20];
    let sum = digits.len() * 7;
    assert_eq!(
        pipe(Service::Both, digits),
        Outcome::success(&format!("{sum}\n"))
    );
}

#[test]
fn many_requests_do_not_deadlock_with_their_replies() {
    let requests = "1\n".repeat(1 << 20);
    assert_eq!(pipe(Service::Both, &*requests), Outcome::success(&requests));
}

#[test]
fn a_reply_is_printed_while_the_input_is_idle() {
    let server = chime(Service::Both, Framing::Line);
    let mut child = client(&format!("--server {server}")).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, replies) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    for _ in 0..3 {
        stdin.write_all(b"12345\n").unwrap();
        assert_eq!(replies.recv_timeout(TEST_TIMEOUT).unwrap(), "15");
    }
    drop(stdin);
    assert_eq!(wait(child), Outcome::success(""));
}

#[test]
fn a_failure_ends_the_client_while_the_input_is_idle() {
    let server = replying(b"1\n2\n");
    let mut child = client(&format!("--server {server}")).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    let outcome = wait(child);
    assert_eq!(outcome.exit_code, Some(5), "{outcome:?}");
    drop(stdin);
}

#[test]
fn a_server_that_does_not_read_times_out() {
    let (_client_may_end, receiver) = mpsc::channel::<()>();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        let _ = receiver.recv();
    });
    let mut command = client(&format!("--timeout 300ms --server {server}"));
    let outcome = run_with_input(&mut command, vec![b'7'; 32 << 20]);
    assert_eq!(
        (outcome.exit_code, &*outcome.stdout),
        (Some(4), ""),
        "{outcome:?}"
    );
}

#[test]
fn now_is_an_alias_of_send_time() {
    let now = "2026-11-21 06:32:06.123456\n";
    assert_eq!(
        pipe(Service::Both, "now\n NOW\r\n1\nnow"),
        Outcome::success(&format!("{now}{now}1\n{now}"))
    );
    let outcome = pipe(Service::Both, "nowhere\n");
    assert_eq!(outcome.exit_code, Some(1), "{outcome:?}");
}

#[test]
fn further_input_does_not_extend_the_timeout() {
    let server = sending(WELCOME, false);
    let mut child = client(&format!("--timeout 500ms --server {server}"))
        .spawn()
        .expect("the client starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    thread::spawn(move || {
        while stdin.write_all(b"day\n").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let outcome = wait(child);
    assert_eq!(outcome.exit_code, Some(4), "{outcome:?}");
    let start = format!("chime-client: {server}: no reply within 500ms; ");
    assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
}

#[test]
fn replies_before_a_failure_are_printed() {
    for (server, exit_code) in [
        (replying(b"1\n"), 3),
        (replying(b"1\n2\n3\n"), 5),
        (replying(b"1\n\x1b[31m\n"), 5),
    ] {
        let mut command = client(&format!("--timeout 300ms --server {server}"));
        let outcome = run_with_input(&mut command, "1\n2");
        assert_eq!(outcome.exit_code, Some(exit_code), "{outcome:?}");
        assert!(outcome.stdout.starts_with("1\n"), "{outcome:?}");
        assert!(outcome.stderr.starts_with("chime-client: "), "{outcome:?}");
        assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
    }
}

#[test]
fn an_unsolicited_reply_is_an_error() {
    let server = sending(b"Welcome to the server\nSaturday\n", false);
    let outcome = run_with_input(
        &mut client(&format!("--server {server}")),
        vec![b'7'; 32 << 20],
    );
    assert_eq!(
        (outcome.exit_code, &*outcome.stdout),
        (Some(5), ""),
        "{outcome:?}"
    );
}

#[test]
fn a_failing_input_is_named() {
    let server = chime(Service::Both, Framing::Line);
    let folder = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut command = client(&format!("--server {server}"));
    let child = command.stdin(Stdio::from(folder)).spawn().unwrap();
    let outcome = wait(child);
    assert_eq!(outcome.exit_code, Some(2), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .starts_with("chime-client: cannot read standard input: "),
        "{outcome:?}"
    );
}
