//! The output and the exit codes of the commands.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;

use chime_protocol::{Framing, Reply, Service};

use crate::servers::{Replies, WELCOME, chime, chime_at, chime_udp, tcp, udp, unused_address};
use crate::{Outcome, client, run, run_with_input};

#[test]
fn each_command_prints_only_its_reply() {
    let help = format!("{}\n", Reply::Help);
    for (arguments, reply) in [
        ("day", "Saturday\n"),
        ("date", "26-11-21\n"),
        ("time", "06:32:06\n"),
        ("now", "2026-11-21 06:32:06.123456\n"),
        ("sum 12345", "15\n"),
        ("sum 007", "7\n"),
        ("help", &*help),
        ("send day", "Saturday\n"),
        ("send quit", "Thank You .. See You soon !! \n"),
    ] {
        let server = chime(Service::Both, Framing::Line);
        let outcome = run(&format!("--server {server} {arguments}"));
        assert_eq!(outcome, Outcome::success(reply), "{arguments}");
    }
}

#[test]
fn command_names_are_case_insensitive() {
    for (arguments, reply) in [
        ("DAY", "Saturday\n"),
        ("--timeout 10s -v Date", "26-11-21\n"),
        ("--timeout=10s NOW", "2026-11-21 06:32:06.123456\n"),
        ("SUM 12345", "15\n"),
        ("sEnD DAY", "Saturday\n"),
    ] {
        let server = chime(Service::Both, Framing::Line);
        let outcome = run(&format!("--server {server} {arguments}"));
        let outcome = (outcome.exit_code, &*outcome.stdout);
        assert_eq!(outcome, (Some(0), reply), "{arguments}");
    }
}

#[test]
fn an_option_value_is_not_a_command_name() {
    let outcome = run("--server DAY day -6 --timeout 1ms");
    assert!(outcome.stderr.contains("DAY:9990"), "{outcome:?}");
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
        let outcome = run(&format!("--server {server} {arguments}"));
        assert_eq!(outcome, Outcome::success(reply), "{arguments}");
    }
    let outcome = run(&format!("--udp --server {} send time", chime_udp()));
    let reply = "2026-11-21 06:32:06.123456\n";
    assert_eq!(outcome, Outcome::success(reply));
}

#[test]
fn words_to_send_are_joined_by_a_space() {
    let server = tcp(|mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        let mut line = String::new();
        let mut lines = BufReader::new(stream.try_clone().expect("a clone"));
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line, "two words\n");
        stream.write_all(b"1\n2\n").expect("the client reads");
    });
    // The reply does not match. The server thread asserts the line.
    let outcome = run(&format!("--server {server} send two words"));
    assert!(
        outcome.stderr.contains("unexpected reply '1'"),
        "{outcome:?}"
    );
}

#[test]
fn the_scheme_of_a_server_selects_the_transport() {
    let tcp = chime(Service::Both, Framing::Line);
    let udp = chime_udp();
    for arguments in [
        format!("day --server tcp://{tcp}"),
        format!("day --server TCP://{tcp}/"),
        format!("day --server udp://{udp}"),
        format!("day --udp --server udp://{udp}"),
    ] {
        assert_eq!(
            run(&arguments),
            Outcome::success("Saturday\n"),
            "{arguments}"
        );
    }
    // The message shows the default port. Nothing is sent: this is not an IPv6 address.
    for (scheme, port) in [("tcp", 9990), ("udp", 8089)] {
        let outcome = run(&format!("day -6 --server {scheme}://127.0.0.1"));
        let start = format!("chime-client: cannot find 127.0.0.1:{port}: ");
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
    }
}

#[test]
fn text_is_sent_unchanged() {
    let server = chime(Service::Both, Framing::Line);
    let mut command = client(&format!("--server {server} send"));
    let outcome = run_with_input(command.arg("\tSend time "), "");
    assert_eq!(outcome, Outcome::success("2026-11-21 06:32:06.123456\n"));
}

#[test]
fn several_commands_are_answered_in_order() {
    let server = chime(Service::Both, Framing::Line);
    let help = Reply::Help;
    for (arguments, replies) in [
        ("day date time", "Saturday\n26-11-21\n06:32:06\n"),
        (
            "DATE Now day",
            "26-11-21\n2026-11-21 06:32:06.123456\nSaturday\n",
        ),
        ("day help", &*format!("Saturday\n{help}\n")),
        ("day --timeout 9s day", "Saturday\nSaturday\n"),
    ] {
        let outcome = run(&format!("--server {server} {arguments}"));
        assert_eq!(outcome, Outcome::success(replies), "{arguments}");
    }
    let outcome = run(&format!("--udp --server {} day now", chime_udp()));
    let replies = "Saturday\n2026-11-21 06:32:06.123456\n";
    assert_eq!(outcome, Outcome::success(replies));
    for arguments in ["day quit", "day 12", "--udp day help"] {
        let outcome = run(arguments);
        assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
    }
}

#[test]
fn the_port_replaces_that_of_the_server() {
    let server = chime(Service::Both, Framing::Line);
    let port = server.port();
    for arguments in [
        format!("-p {port} day"),
        format!("-vp {port} DAY"),
        format!("--port={port} --server 127.0.0.1:1 day"),
        format!("day -p{port} --server chime://127.0.0.1"),
    ] {
        let outcome = run(&arguments);
        let outcome = (outcome.exit_code, &*outcome.stdout);
        assert_eq!(outcome, (Some(0), "Saturday\n"), "{arguments}");
    }
    for port in ["0", "65536", "http"] {
        assert_eq!(run(&format!("-p {port} day")).exit_code, Some(2));
    }
}

#[test]
fn an_error_reply_is_on_standard_error_with_exit_code_1() {
    for (service, arguments, replies, error) in [
        (
            Service::Both,
            "send what?",
            "",
            "You entered an invalid command",
        ),
        (
            Service::DateTime,
            "sum 1",
            "",
            "You entered an invalid command",
        ),
        (
            Service::DateTime,
            "sum -",
            "",
            "You entered an invalid command",
        ),
        (
            Service::DigitSum,
            "day",
            "",
            "Please enter a valid String of Digits or type 'quit' to exit.",
        ),
        // The other commands are answered all the same.
        (
            Service::DateTime,
            "day now day",
            "Saturday\nSaturday\n",
            "You entered an invalid command",
        ),
    ] {
        let server = chime(service, Framing::Line);
        let mut command = client(&format!("--server {server} {arguments}"));
        let outcome = run_with_input(&mut command, "1");
        let expected = Outcome {
            exit_code: Some(1),
            stdout: replies.to_owned(),
            stderr: format!("chime-client: {server}: {error}\n"),
        };
        assert_eq!(outcome, expected, "{arguments}");
    }
}

#[test]
fn quit_may_have_no_reply() {
    let server = chime(Service::DateTime, Framing::Line);
    let outcome = run(&format!("send quit --server {server}"));
    assert_eq!(outcome, Outcome::success(""));
}

#[test]
fn the_time_commands_work_over_udp() {
    const CASES: [(&str, &[Replies], &str); 6] = [
        ("day", &[&[b"Saturday"]], "Saturday\n"),
        ("date", &[&[b"26-11-21"]], "26-11-21\n"),
        ("time", &[&[b"06:32:06"]], "06:32:06\n"),
        (
            "now",
            &[&[b"2026-11-21 06:32:06.123456"]],
            "2026-11-21 06:32:06.123456\n",
        ),
        // Empty datagrams are ignored, and requests without a reply are retried.
        ("day", &[&[b"", b"Saturday"]], "Saturday\n"),
        ("day", &[&[], &[b"Saturday"]], "Saturday\n"),
    ];
    for (arguments, replies, reply) in CASES {
        let server = udp(replies);
        let outcome = run(&format!("--udp --server {server} {arguments}"));
        assert_eq!(outcome, Outcome::success(reply), "{arguments}");
    }
}

#[test]
fn the_environment_sets_the_server_and_the_timeout() {
    let server = chime(Service::Both, Framing::Line);
    let mut command = client("day");
    let command = command
        .env("CHIME_SERVER", server.to_string())
        .env("CHIME_TIMEOUT", "100years");
    assert_eq!(run_with_input(command, ""), Outcome::success("Saturday\n"));
    // An empty variable counts as unset.
    let mut command = client(&format!("day --server {server}"));
    let command = command.env("CHIME_SERVER", "").env("CHIME_TIMEOUT", "");
    assert_eq!(run_with_input(command, ""), Outcome::success("Saturday\n"));
    let server = unused_address();
    let mut command = client(&format!("day -p {}", server.port()));
    let outcome = run_with_input(command.env("CHIME_SERVER", ""), "");
    assert!(outcome.stderr.contains(&server.to_string()), "{outcome:?}");
    let outcome = run_with_input(client("day").env("CHIME_TIMEOUT", "soon"), "");
    assert_eq!(outcome.exit_code, Some(2));
}

#[test]
fn a_host_name_is_resolved() {
    let port = chime(Service::Both, Framing::Line).port();
    let outcome = run(&format!("-4 --server localhost:{port} day"));
    assert_eq!(outcome, Outcome::success("Saturday\n"));
}

#[test]
fn a_server_may_have_an_ipv6_address() {
    let localhost = (Ipv6Addr::LOCALHOST, 0).into();
    let Ok(server) = chime_at(localhost, Service::Both, Framing::Line) else {
        return; // This machine has no IPv6.
    };
    let outcome = run(&format!("-6 --server {server} day"));
    assert_eq!(outcome, Outcome::success("Saturday\n"));
}

#[test]
fn help_of_a_command_needs_no_server() {
    for arguments in ["help sum", "HELP Sum", "-p 1 help sum"] {
        assert_eq!(run(arguments), run("sum --help"), "{arguments}");
    }
    let outcome = run("help what?");
    assert_eq!((outcome.exit_code, &*outcome.stdout), (Some(2), ""));
}

#[test]
fn help_omits_the_options_that_a_command_refuses() {
    for (command, refused) in [
        ("sum", &["--udp"][..]),
        ("help", &["--udp"]),
        ("send", &["--udp"]),
        ("bench", &["--verbose"]),
        ("ping", &["--verbose"]),
        (
            "completions",
            &[
                "--udp",
                "--server",
                "--port",
                "--timeout",
                "--json",
                "--verbose",
                "-4",
                "-6",
            ],
        ),
    ] {
        let help = run(&format!("{command} --help")).stdout;
        let all = run("--help").stdout;
        for option in refused {
            let is_listed = |help: &str| help.contains(&format!(" {option} "));
            assert!(
                is_listed(&all) && !is_listed(&help),
                "{command} {option}: {help}"
            );
        }
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let outcome = run("--help");
    assert_eq!(outcome.exit_code, Some(0));
    assert!(outcome.stdout.contains("Exit codes:"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Examples:"), "{}", outcome.stdout);
}
