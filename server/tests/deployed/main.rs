//! Tests of the files in `server/deploy`: proxies in front of several servers, systemd units, the manual.
//!
//! The proxies run with the shipped files, except for their addresses. A test whose program is not
//! installed prints so on stderr, and passes.

#[path = "../process/activated.rs"]
mod activated;
mod activation;
mod container;
#[path = "../threats/figures.rs"]
mod figures;
mod haproxy;
#[path = "../process/isolated.rs"]
mod isolated;
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
use isolated::isolated;
use waiting::{TIMEOUT, wait_until};

/// A background process. Dropping it ends it.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("the program starts"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a process id"));
        kill(pid, signal).expect("signalled");
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }

    /// Waits until it exits, and asserts success.
    fn wait(mut self) {
        wait_until("the process exits", || self.has_ended());
        let status = self.0.wait().expect("a child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    /// Sends SIGTERM first: a program with child processes, such as nginx, needs time to end them.
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(5));
        }
        // Fails only if the process has exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns whether a program is installed; if not, reports the test as skipped.
fn is_installed(test: &str, program: &str, flag: &str) -> bool {
    let is_installed = Command::new(program).arg(flag).output().is_ok();
    if !is_installed {
        report_skipped(test, program);
    }
    is_installed
}

/// Writes to stderr directly: the test harness captures what `eprintln!` prints in a test that passes.
fn report_skipped(test: &str, program: &str) {
    let line = format!("SKIPPED: {test} needs {program}, which is not installed here\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr is open");
}

/// Returns the text of a shipped file.
fn shipped(file: &str) -> String {
    let path = deploy_folder().join(file);
    fs::read_to_string(path).expect("a shipped file")
}

fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Replaces `from`, which must occur: otherwise the shipped file has changed and the test is stale.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is missing");
    text.replace(from, to)
}

/// Creates an empty folder for the files of a test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("deployed")
        .join(test);
    // Fails if this is the first run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}
