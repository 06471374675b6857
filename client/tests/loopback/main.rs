//! The command `chime-client` against servers that stand in for the real one, over loopback.

mod bench;
mod commands;
mod completions;
mod failures;
mod help;
mod library;
mod output;
mod pipes;
#[cfg(unix)]
mod prompt;
#[cfg(unix)]
mod readme;
mod stand_in;
mod sums;
#[cfg(unix)]
mod terminal;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than any run here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client with the arguments, each after a space, none of its environment, and pipes for its
/// standard streams.
fn client(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chime-client"));
    command
        .args(arguments.split_whitespace())
        .env_remove("CHIME_SERVER")
        .env_remove("CHIME_TIMEOUT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How a client ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    exit_code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Answered, with this on standard output.
    fn answered(stdout: &str) -> Ended {
        Ended {
            exit_code: Some(0),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        }
    }
}

/// Runs the client, without input, until it ends.
fn run(arguments: &str) -> Ended {
    run_with_input(&mut client(arguments), "")
}

/// Runs the client, which is given `input`, if it wants it, until it ends.
fn run_with_input(command: &mut Command, input: impl Into<Vec<u8>>) -> Ended {
    let mut child = command.spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.into();
    // A client that has quit takes no more.
    thread::spawn(move || stdin.write_all(&input));
    wait(child)
}

fn wait(child: Child) -> Ended {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(PATIENCE).expect("the client ends");
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("pipes can be read");
    Ended {
        exit_code: status.code(),
        stdout: String::from_utf8(stdout).expect("output is text"),
        stderr: String::from_utf8(stderr).expect("errors are text"),
    }
}
