//! What the commands print, and how they end.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;

use chime_protocol::{Framing, Service};

use crate::stand_in::{Answers, WELCOME, chime, chime_at, chime_over_udp, tcp, udp};
use crate::{Ended, client, run, run_with_input};

#[test]
fn each_command_prints_its_reply_alone() {
    for (arguments, reply) in [
        ("day", "Saturday\n"),
        ("date", "26-11-21\n"),
        ("time", "06:32:06\n"),
        ("now", "2026-11-21 06:32:06.123456\n"),
        ("sum 12345", "15\n"),
        ("sum 007", "7\n"),
        (
            "help",
            "Commands: day, date, time, send time, a string of digits, help, quit, exit\n",
        ),
        ("send day", "Saturday\n"),
        ("send quit", "Thank You .. See You soon !! \n"),
    ] {
        let server = chime(Service::Both, Framing::Line);
        let ended = run(&format!("--server {server} {arguments}"));
        assert_eq!(ended, Ended::answered(reply), "{arguments}");
    }
}

#[test]
fn letter_case_does_not_count_in_the_name_of_a_command() {
    for (arguments, reply) in [
        ("DAY", "Saturday\n"),
        ("--timeout 10s -v Date", "26-11-21\n"),
        ("--timeout=10s NOW", "2026-11-21 06:32:06.123456\n"),
        ("SUM 12345", "15\n"),
        ("sEnD DAY", "Saturday\n"),
    ] {
        let server = chime(Service::Both, Framing::Line);
        let ended = run(&format!("--server {server} {arguments}"));
        let outcome = (ended.exit_code, &*ended.stdout);
        assert_eq!(outcome, (Some(0), reply), "{arguments}");
    }
}

#[test]
fn a_value_of_an_option_is_no_name_of_a_command() {
    let ended = run("--server DAY day -6 --timeout 1ms");
    assert!(ended.stderr.contains("DAY:9990"), "{ended:?}");
}

#[test]
fn send_time_is_the_request_of_that_name() {
    for (arguments, reply) in [
        ("send time", "2026-11-21 06:32:06.123456\n"),
        ("SEND Time", "2026-11-21 06:32:06.123456\n"),
        ("send send time", "2026-11-21 06:32:06.123456\n"),
        ("time", "06:32:06\n"),
    ] {
        let server = chime(Service::Both, Framing::Line);
        let ended = run(&format!("--server {server} {arguments}"));
        assert_eq!(ended, Ended::answered(reply), "{arguments}");
    }
    let ended = run(&format!("--udp --server {} send time", chime_over_udp()));
    let reply = "2026-11-21 06:32:06.123456\n";
    assert_eq!(ended, Ended::answered(reply));
}

#[test]
fn words_to_send_are_joined_by_a_space() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        let mut line = String::new();
        let mut lines = BufReader::new(stream.try_clone().expect("a copy"));
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line, "two words\n");
        stream.write_all(b"1\n2\n").expect("the client takes it");
    });
    // The reply does not answer it, so nothing but the line can have been right.
    let ended = run(&format!("--server {server} send two words"));
    assert!(ended.stderr.contains("unexpected reply '1'"), "{ended:?}");
}

#[test]
fn the_scheme_of_a_server_names_the_transport() {
    let tcp = chime(Service::Both, Framing::Line);
    let udp = chime_over_udp();
    for arguments in [
        format!("day --server tcp://{tcp}"),
        format!("day --server TCP://{tcp}/"),
        format!("day --server udp://{udp}"),
        format!("day --udp --server udp://{udp}"),
    ] {
        assert_eq!(
            run(&arguments),
            Ended::answered("Saturday\n"),
            "{arguments}"
        );
    }
    // The port of the transport is the default; nothing is asked, for this is no address of IPv6.
    for (scheme, port) in [("tcp", 9990), ("udp", 8089)] {
        let ended = run(&format!("day -6 --server {scheme}://127.0.0.1"));
        let start = format!("chime-client: cannot find 127.0.0.1:{port}: ");
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
    }
}

#[test]
fn text_is_sent_as_it_is() {
    let server = chime(Service::Both, Framing::Line);
    let mut command = client(&format!("--server {server} send"));
    let ended = run_with_input(command.arg("\tSend time "), "");
    assert_eq!(ended, Ended::answered("2026-11-21 06:32:06.123456\n"));
}

#[test]
fn an_error_of_the_server_is_a_reply_with_exit_code_1() {
    for (service, arguments, reply) in [
        (
            Service::Both,
            "send what?",
            "You entered an invalid command\n",
        ),
        (
            Service::DateTime,
            "sum 1",
            "You entered an invalid command\n",
        ),
        (
            Service::DigitSum,
            "day",
            "Please enter a valid String of Digits or type 'quit' to exit.\n",
        ),
    ] {
        let server = chime(service, Framing::Line);
        let ended = run(&format!("--server {server} {arguments}"));
        let exit_code = Some(1);
        assert_eq!(
            ended,
            Ended {
                exit_code,
                ..Ended::answered(reply)
            },
            "{arguments}"
        );
    }
}

#[test]
fn quit_may_be_answered_by_nothing() {
    let server = chime(Service::DateTime, Framing::Line);
    let ended = run(&format!("send quit --server {server}"));
    assert_eq!(ended, Ended::answered(""));
}

#[test]
fn the_time_commands_work_over_udp() {
    const CASES: [(&str, &[Answers], &str); 6] = [
        ("day", &[&[b"Saturday"]], "Saturday\n"),
        ("date", &[&[b"26-11-21"]], "26-11-21\n"),
        ("time", &[&[b"06:32:06"]], "06:32:06\n"),
        (
            "now",
            &[&[b"2026-11-21 06:32:06.123456"]],
            "2026-11-21 06:32:06.123456\n",
        ),
        // An empty datagram is no answer; what gets none is sent again.
        ("day", &[&[b"", b"Saturday"]], "Saturday\n"),
        ("day", &[&[], &[b"Saturday"]], "Saturday\n"),
    ];
    for (arguments, answers, reply) in CASES {
        let server = udp(answers);
        let ended = run(&format!("--udp --server {server} {arguments}"));
        assert_eq!(ended, Ended::answered(reply), "{arguments}");
    }
}

#[test]
fn the_environment_names_the_server_and_the_timeout() {
    let server = chime(Service::Both, Framing::Line);
    let mut command = client("day");
    let command = command
        .env("CHIME_SERVER", server.to_string())
        .env("CHIME_TIMEOUT", "100years");
    assert_eq!(run_with_input(command, ""), Ended::answered("Saturday\n"));
    // An empty variable is an unset one.
    let mut command = client(&format!("day --server {server}"));
    let command = command.env("CHIME_SERVER", "").env("CHIME_TIMEOUT", "");
    assert_eq!(run_with_input(command, ""), Ended::answered("Saturday\n"));
    let ended = run_with_input(client("day -6").env("CHIME_SERVER", ""), "");
    assert!(ended.stderr.contains("127.0.0.1:9990"), "{ended:?}");
    let ended = run_with_input(client("day").env("CHIME_TIMEOUT", "soon"), "");
    assert_eq!(ended.exit_code, Some(2));
}

#[test]
fn the_name_of_a_server_is_resolved() {
    let port = chime(Service::Both, Framing::Line).port();
    let ended = run(&format!("-4 --server localhost:{port} day"));
    assert_eq!(ended, Ended::answered("Saturday\n"));
}

#[test]
fn a_server_may_have_an_ipv6_address() {
    let localhost = (Ipv6Addr::LOCALHOST, 0).into();
    let Ok(server) = chime_at(localhost, Service::Both, Framing::Line) else {
        return; // There is no IPv6 here.
    };
    let ended = run(&format!("-6 --server {server} day"));
    assert_eq!(ended, Ended::answered("Saturday\n"));
}

#[test]
fn help_tells_the_exit_codes() {
    let ended = run("--help");
    assert_eq!(ended.exit_code, Some(0));
    assert!(ended.stdout.contains("Exit codes:"), "{}", ended.stdout);
    assert!(ended.stdout.contains("Examples:"), "{}", ended.stdout);
}
