//! Requests that come through standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_protocol::{Framing, Service};

use crate::stand_in::{WELCOME, answering, chime, saying, tcp};
use crate::{Ended, PATIENCE, client, run_with_input, wait};

/// What comes of piping `input` to a server of the protocol.
fn pipe(service: Service, input: impl Into<Vec<u8>>) -> Ended {
    let server = chime(service, Framing::Line);
    run_with_input(&mut client(&format!("--server {server}")), input)
}

#[test]
fn replies_come_in_order_and_the_last_line_needs_no_end() {
    assert_eq!(
        pipe(Service::Both, "day\n12345\r\n \tDATE\nsend time\n99"),
        Ended::answered("Saturday\n15\n26-11-21\n2026-11-21 06:32:06.123456\n18\n")
    );
    assert_eq!(pipe(Service::Both, ""), Ended::answered(""));
}

#[test]
fn one_error_among_the_replies_is_exit_code_1() {
    let replies = Ended::answered("1\nYou entered an invalid command\n2\n");
    let exit_code = Some(1);
    assert_eq!(
        pipe(Service::Both, "1\n\n2\n"),
        Ended {
            exit_code,
            ..replies
        }
    );
}

#[test]
fn nothing_after_quit_is_answered() {
    let replies = Ended::answered("1\nThank You .. See You soon !! \n");
    let endless = "2\n".repeat(1 << 20);
    assert_eq!(pipe(Service::Both, format!("1\nquit\n{endless}")), replies);
    assert_eq!(
        pipe(Service::DateTime, "day\nquit\nday\n"),
        Ended::answered("Saturday\n")
    );
}

#[test]
fn a_line_of_many_megabytes_is_summed() {
    let digits = vec![b'7'; 32 << 20];
    let sum = digits.len() * 7;
    assert_eq!(
        pipe(Service::Both, digits),
        Ended::answered(&format!("{sum}\n"))
    );
}

#[test]
fn many_requests_do_not_block_on_their_replies() {
    let requests = "1\n".repeat(1 << 20);
    assert_eq!(pipe(Service::Both, &*requests), Ended::answered(&requests));
}

#[test]
fn a_reply_is_shown_while_the_input_waits() {
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
        assert_eq!(replies.recv_timeout(PATIENCE).unwrap(), "15");
    }
    drop(stdin);
    assert_eq!(wait(child), Ended::answered(""));
}

#[test]
fn a_failure_ends_it_while_the_input_waits() {
    let server = answering(b"1\n2\n");
    let mut child = client(&format!("--server {server}")).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    let ended = wait(child);
    assert_eq!(ended.exit_code, Some(5), "{ended:?}");
    drop(stdin);
}

#[test]
fn a_server_that_does_not_read_times_out() {
    let (_client_may_end, receiver) = mpsc::channel::<()>();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        let _ = receiver.recv();
    });
    let mut command = client(&format!("--timeout 300ms --server {server}"));
    let ended = run_with_input(&mut command, vec![b'7'; 32 << 20]);
    assert_eq!(
        (ended.exit_code, &*ended.stdout),
        (Some(4), ""),
        "{ended:?}"
    );
}

#[test]
fn now_is_an_alias_of_send_time() {
    let now = "2026-11-21 06:32:06.123456\n";
    assert_eq!(
        pipe(Service::Both, "now\n NOW\r\n1\nnow"),
        Ended::answered(&format!("{now}{now}1\n{now}"))
    );
    let ended = pipe(Service::Both, "nowhere\n");
    assert_eq!(ended.exit_code, Some(1), "{ended:?}");
}

#[test]
fn a_server_that_hangs_times_out_while_input_keeps_coming() {
    let server = saying(WELCOME, false);
    let mut child = client(&format!("--timeout 500ms --server {server}"))
        .spawn()
        .expect("the client starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    thread::spawn(move || {
        while stdin.write_all(b"day\n").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let ended = wait(child);
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    let start = format!("chime-client: {server}: no reply within 500ms; ");
    assert!(ended.stderr.starts_with(&start), "{ended:?}");
}

#[test]
fn replies_before_a_failure_are_shown() {
    for (server, exit_code) in [
        (answering(b"1\n"), 3),
        (answering(b"1\n2\n3\n"), 5),
        (answering(b"1\n\x1b[31m\n"), 5),
    ] {
        let mut command = client(&format!("--timeout 300ms --server {server}"));
        let ended = run_with_input(&mut command, "1\n2");
        assert_eq!(ended.exit_code, Some(exit_code), "{ended:?}");
        assert!(ended.stdout.starts_with("1\n"), "{ended:?}");
        assert!(ended.stderr.starts_with("chime-client: "), "{ended:?}");
        assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
    }
}

#[test]
fn replies_that_nobody_asked_for_are_refused() {
    let server = saying(b"Welcome to the server\nSaturday\n", false);
    let ended = run_with_input(
        &mut client(&format!("--server {server}")),
        vec![b'7'; 32 << 20],
    );
    assert_eq!(
        (ended.exit_code, &*ended.stdout),
        (Some(5), ""),
        "{ended:?}"
    );
}

#[test]
fn an_input_that_fails_is_named() {
    let server = chime(Service::Both, Framing::Line);
    let folder = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut command = client(&format!("--server {server}"));
    let child = command.stdin(Stdio::from(folder)).spawn().unwrap();
    let ended = wait(child);
    assert_eq!(ended.exit_code, Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .starts_with("chime-client: cannot read standard input: "),
        "{ended:?}"
    );
}
