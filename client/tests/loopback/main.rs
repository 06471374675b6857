//! The command `chime-client` against real and fake servers, over loopback.

mod bench;
mod commands;
mod completions;
mod failures;
mod help;
mod library;
mod output;
mod ping;
mod pipes;
#[cfg(unix)]
mod prompt;
#[cfg(unix)]
mod readme;
mod servers;
mod sums;
#[cfg(unix)]
mod terminal;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A timeout far longer than any test takes.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Variables that could change the output of the client.
const VARIABLES: [&str; 6] = [
    "CHIME_SERVER",
    "CHIME_TIMEOUT",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "NO_COLOR",
];

/// Returns a command that does not inherit these variables.
fn isolated(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Returns the client with the arguments, separated by spaces, without these variables, and with
/// pipes as its standard streams.
fn client(arguments: &str) -> Command {
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-client"));
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The outcome of a client that has exited.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    exit_code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Exit code 0, with this standard output.
    fn success(stdout: &str) -> Outcome {
        Outcome {
            exit_code: Some(0),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        }
    }
}

/// Runs the client without input until it exits.
fn run(arguments: &str) -> Outcome {
    run_with_input(&mut client(arguments), "")
}

/// Runs the client with `input` until it exits.
fn run_with_input(command: &mut Command, input: impl Into<Vec<u8>>) -> Outcome {
    let mut child = command.spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.into();
    // A client that exits early does not read all of it: ignore the error.
    thread::spawn(move || stdin.write_all(&input));
    wait(child)
}

fn wait(child: Child) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver
        .recv_timeout(TEST_TIMEOUT)
        .expect("the client exits");
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("pipes can be read");
    Outcome {
        exit_code: status.code(),
        stdout: String::from_utf8(stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(stderr).expect("standard error is UTF-8"),
    }
}
