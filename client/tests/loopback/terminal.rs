//! The client at a terminal, whose screen is read as a person would.

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

use crate::PATIENCE;

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

/// The client at a terminal of its own.
pub(crate) struct Terminal {
    client: Child,
    keyboard: Arc<Pty>,
    /// What the client writes to the terminal.
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
            // Reading fails once the client has gone.
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

    /// Types, without waiting for anything.
    pub(crate) fn press(&mut self, keys: impl AsRef<[u8]>) {
        (&*self.keyboard)
            .write_all(keys.as_ref())
            .expect("the terminal is there");
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, is_there: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_there(&self.lines()) {
            let left = end.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("not within {PATIENCE:?}: {what}\n{self}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without: {what}\n{self}"),
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

    /// Waits for the client to end, and returns its exit code and what is left on the screen.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.written.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("it has not ended\n{self}"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.client.wait().expect("it has ended");
        (status.code(), self.to_string())
    }

    /// The cell that holds the first letter of `text`.
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

    /// The lines of the screen, without the empty ones at the end and the blanks at the end of each.
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
    /// A test that has failed leaves no client behind.
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// The client with the arguments, each after a space, nothing of the environment but that it is at a
/// terminal, and its state in a folder of that name.
pub(crate) fn client(arguments: &str, folder: &str) -> Command {
    Command::new(env!("CARGO_BIN_EXE_chime-client"))
        .args(arguments.split_whitespace())
        .env_clear()
        .env("TERM", "xterm")
        .env("HOME", state_folder(folder))
        .env("XDG_STATE_HOME", state_folder(folder))
}

/// A folder of that name for state, which tests begin without.
pub(crate) fn new_state_folder(name: &str) -> PathBuf {
    let folder = state_folder(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it is ours");
    }
    folder
}

fn state_folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("state")
        .join(name)
}
