//! The client at a pseudo-terminal with an emulated screen.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use vt100::{Cell, Parser};

use crate::TEST_TIMEOUT;

pub(crate) const UP: &str = "\x1b[A";
pub(crate) const LEFT: &str = "\x1b[D";
pub(crate) const RIGHT: &str = "\x1b[C";
pub(crate) const HOME: &str = "\x1b[H";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A client at a pseudo-terminal.
pub(crate) struct Terminal {
    client: Child,
    keyboard: Arc<Pty>,
    /// The output of the client.
    written: Receiver<Vec<u8>>,
    screen: Parser,
}

impl Terminal {
    /// Starts a client, as made by [`client`], at a terminal.
    pub(crate) fn start(client: Command) -> Terminal {
        let (terminal, end) = open().expect("a terminal");
        terminal.resize(Size::new(ROWS, COLUMNS)).expect("a size");
        let client = client.spawn(end).expect("the client starts");
        let keyboard = Arc::new(terminal);
        let terminal = Arc::clone(&keyboard);
        let (sender, written) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails once the client has exited.
            while let Ok(length @ 1..) = (&*terminal).read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let size = |lines| NonZero::new(lines).expect("not zero");
        Terminal {
            client,
            keyboard,
            written,
            screen: Parser::new(size(ROWS), size(COLUMNS), 0),
        }
    }

    /// Sends keys without waiting.
    pub(crate) fn press(&mut self, keys: impl AsRef<[u8]>) {
        (&*self.keyboard)
            .write_all(keys.as_ref())
            .expect("an open terminal");
    }

    /// Waits until the screen satisfies `is_there`; `what` describes it in the panic message.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, is_there: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + TEST_TIMEOUT;
        while !is_there(&self.lines()) {
            let left = end.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("not within {TEST_TIMEOUT:?}: {what}\n{self}")
                }
                Err(RecvTimeoutError::Disconnected) => panic!("exited without: {what}\n{self}"),
            }
        }
    }

    /// Waits until these lines are the whole screen.
    #[track_caller]
    pub(crate) fn shows(&mut self, expected: &[&str]) {
        self.wait_for(&expected.join("\n"), |lines| lines == expected);
    }

    /// Waits until these lines are the last on the screen.
    #[track_caller]
    pub(crate) fn shows_last(&mut self, expected: &[&str]) {
        self.wait_for(&expected.join("\n"), |lines| {
            let start = lines.len().saturating_sub(expected.len());
            lines[start..] == *expected
        });
    }

    /// Waits for the client to exit, and returns its exit code and the final screen.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + TEST_TIMEOUT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("still running\n{self}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.client.wait().expect("an exit status");
        (status.code(), self.to_string())
    }

    /// Returns the cell of the first letter of `text`.
    #[track_caller]
    pub(crate) fn cell(&self, text: &str) -> &Cell {
        let lines = self.lines();
        let found = lines
            .iter()
            .enumerate()
            .find_map(|(row, line)| Some((row, line.find(text)?)));
        let (row, column) = found.expect("it is on the screen");
        let index = |number| u16::try_from(number).expect("a small screen");
        let cell = self.screen.screen().cell(index(row), index(column));
        cell.expect("it is on the screen")
    }

    /// Returns the lines of the screen, without trailing empty lines and trailing blanks.
    fn lines(&self) -> Vec<String> {
        let text = self.screen.screen().contents();
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        lines.collect()
    }
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lines().join("\n"))
    }
}

impl Drop for Terminal {
    /// Kills the client, which may still run after a failed assertion.
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Returns the client with the arguments, separated by spaces, the environment of a terminal, and its state in
/// the directory of that name.
pub(crate) fn client(arguments: &str, directory: &str) -> Command {
    Command::new(env!("CARGO_BIN_EXE_chime-client"))
        .args(arguments.split_whitespace())
        .env_clear()
        .env("TERM", "xterm")
        .env("HOME", state_directory(directory))
        .env("XDG_STATE_HOME", state_directory(directory))
}

/// Removes the state directory of that name, and returns its path.
pub(crate) fn new_state_directory(name: &str) -> PathBuf {
    let directory = state_directory(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("a removable directory");
    }
    directory
}

fn state_directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("state")
        .join(name)
}
