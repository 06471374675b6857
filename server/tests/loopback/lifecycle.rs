//! Startup errors, environment variables, and restart.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use nix::sys::signal::Signal;

use crate::{FLAGS, ServerProcess, has_ipv6, isolated, read_line, retry_interrupted};

/// Runs a server that is expected to exit.
fn run(flags: &[&str]) -> Output {
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    command.args(FLAGS).args(flags).output().expect("it runs")
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_address_in_use_is_named_in_one_line() {
    let server = ServerProcess::start(&[]);
    for (flag, transport, address) in [
        ("--tcp", "tcp", server.tcp[0]),
        ("--udp", "udp", server.udp[0]),
    ] {
        let second = run(&[flag, &address.to_string()]);
        assert_eq!(second.status.code(), Some(1));
        assert!(
            second.stdout.is_empty(),
            "it announced an address that it does not serve"
        );
        let expected = format!(
            "chime-server: cannot bind {transport} {address}: \
             address in use (is another server running?)\n"
        );
        assert_eq!(stderr_of(&second), expected);
    }
}

#[test]
fn without_an_address_the_default_one_is_bound() {
    // If the port is in use already, this fails, and the server as well.
    let _listener = TcpListener::bind("127.0.0.1:9990");
    let server = isolated(env!("CARGO_BIN_EXE_chime-server")).output();
    let server = server.expect("it runs");
    assert_eq!(server.status.code(), Some(1));
    let expected = "chime-server: cannot bind tcp 127.0.0.1:9990: \
                    address in use (is another server running?)\n";
    assert_eq!(stderr_of(&server), expected);
}

#[test]
fn an_unassigned_address_is_named_in_one_line() {
    // 192.0.2.0/24 is reserved for documentation: RFC 5737.
    let output = run(&["--tcp", "192.0.2.1:9990"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr_of(&output),
        "chime-server: cannot bind tcp 192.0.2.1:9990: \
         address not available (does this host have it?)\n"
    );
}

#[test]
fn usage_errors_exit_with_code_2() {
    for flags in [
        &["--tcp", "nowhere"][..],
        &["--idle-timeout", "0s"],
        &["--idle-timeout", "soon"],
        &["--drain-delay", "100years 1ns"],
        &["--log", "3"],
        &["--log", ""],
        &["--service", "none"],
        &["--no-tcp", "--no-udp"],
        &["--no-such-flag"],
    ] {
        let output = run(flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr_of(&output).starts_with("error: "), "{flags:?}");
    }
}

#[test]
fn durations_are_at_most_100_years() {
    let output = run(&["--check-config", "--drain-delay", "100years"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
}

#[test]
fn counts_are_at_least_1() {
    for flag in [
        "--workers",
        "--max-connections",
        "--max-connections-per-address",
        "--udp-rate",
    ] {
        let output = run(&[flag, "0"]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let expected = format!("error: invalid value '0' for '{flag} <N>': must be at least 1\n");
        assert!(stderr_of(&output).starts_with(&expected), "{output:?}");
    }
}

#[test]
fn several_addresses_are_served() {
    let other = if has_ipv6() { "[::1]:0" } else { "127.0.0.3:0" };
    let server = ServerProcess::start(&["--tcp", "127.0.0.2:0", "--tcp", other, "--udp", other]);
    assert_eq!((server.tcp.len(), server.udp.len()), (3, 2));
    for address in &server.tcp {
        let stream = TcpStream::connect(address).expect("a connection");
        assert_eq!(read_line(&stream), "Welcome to the server\n");
    }
}

#[test]
fn every_flag_has_an_environment_variable() {
    let help = run(&["--help"]);
    let help = String::from_utf8(help.stdout).expect("text");
    let mut variables = Vec::new();
    for line in help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("--"))
    {
        let flag = line.split_whitespace().next().expect("a flag");
        let variable = format!("CHIME_{}", flag[2..].replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("[env: {variable}=")), "{flag}");
        variables.push((variable, ""));
    }
    let checked = |variables: &[(String, &str)]| {
        let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
        command
            .arg("--check-config")
            .envs(variables.iter().cloned());
        command.output().expect("it runs")
    };
    let (unset, empty) = (checked(&[]), checked(&variables));
    assert!(unset.status.success());
    assert_eq!(empty, unset, "an empty variable counts as unset");
    // An error names the variable whose value is invalid.
    variables.retain(|(variable, _)| {
        let flags = [
            "NO_TCP",
            "NO_UDP",
            "UTC",
            "CHECK_CONFIG",
            "CONFIG",
            "MANUAL",
        ];
        !flags.contains(&&variable["CHIME_".len()..])
    });
    assert!(variables.len() > 10, "{variables:?}");
    for (variable, _) in variables {
        let output = checked(&[(variable.clone(), "?")]);
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let expected = format!("error: invalid value '?' for '{variable}'");
        assert!(stderr_of(&output).starts_with(&expected), "{output:?}");
    }

    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    let output = command
        .args(["--udp", "127.0.0.1:0"])
        .envs([("CHIME_NO_TCP", "1"), ("CHIME_UDP", "192.0.2.1:1")])
        .envs([("CHIME_TCP", "192.0.2.1:2"), ("CHIME_WORKERS", "none")])
        .output()
        .expect("it runs");
    assert!(
        stderr_of(&output).contains("'none' for 'CHIME_WORKERS'"),
        "{output:?}"
    );
}

#[test]
fn a_flag_overrides_its_variable() {
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    let output = command
        .args(["--tcp", "192.0.2.1:1", "--no-udp"])
        .env("CHIME_TCP", "192.0.2.1:2")
        .output()
        .expect("it runs");
    assert!(stderr_of(&output).contains("cannot bind tcp 192.0.2.1:1:"));
}

#[test]
fn the_port_can_be_reused_right_after_shutdown() {
    let server = ServerProcess::start(&[]);
    let address = server.tcp[0].to_string();
    let mut client = server.connect();
    assert_eq!(read_line(&client), "Welcome to the server\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(retry_interrupted(|| client.read(&mut [0])).expect("EOF"), 0);
    assert_eq!(server.wait().0.code(), Some(0));
    // The client has not closed its side: the port still has an old connection.
    let server = ServerProcess::start(&["--tcp", &address]);
    assert_eq!(server.tcp[1].to_string(), address);
}
