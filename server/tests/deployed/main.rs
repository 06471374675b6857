//! The files of `server/deploy` at work: proxies before several servers, units of systemd, the manual.
//!
//! The proxies are started with the very files that are shipped, but for their addresses. A test whose
//! program is not installed says so on standard error, and passes.

#[path = "../process/activated.rs"]
mod activated;
mod activation;
#[path = "../threats/figures.rs"]
mod figures;
mod haproxy;
mod manual;
mod nginx;
mod server;
mod units;
#[path = "../process/waiting.rs"]
mod waiting;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use figures::record;
use waiting::{PATIENCE, wait_until};

/// A program in the background, ended when it goes out of scope.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the program starts"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a process"));
        kill(pid, signal).expect("signalled");
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }

    /// Waits until it has ended by itself, with success.
    fn wait(mut self) {
        wait_until("the process ends", || self.has_ended());
        let status = self.0.wait().expect("a child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    /// A program with children of its own, such as nginx, has to have time to end them.
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(5));
        }
        // It fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is installed; if not, says loudly that the test is skipped.
fn is_installed(test: &str, program: &str, flag: &str) -> bool {
    let is_there = Command::new(program).arg(flag).output().is_ok();
    if !is_there {
        tell_skipped(test, program);
    }
    is_there
}

/// Says it past the harness, which keeps what the macros print from a test that passes.
fn tell_skipped(test: &str, program: &str) {
    let line = format!("SKIPPED: {test} needs {program}, which is not installed here\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("a standard error");
}

/// The text of a file that is shipped, for a test to put its own addresses in.
fn shipped(file: &str) -> String {
    let path = deploy_folder().join(file);
    fs::read_to_string(path).expect("a shipped file")
}

fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Replaces a text that has to be there, so that a test can't go stale unseen.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not there any more");
    text.replace(from, to)
}

/// An empty folder for the files of a test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("deployed")
        .join(test);
    // It is there only if the test has been run before.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}
