//! Starts the server with inherited sockets, as a service manager does (socket activation).

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::isolated;

/// A shell script that moves stdin and stderr to the descriptors 3 and 4, sets `LISTEN_PID` and
/// `LISTEN_FDS`, and runs the command in its arguments.
const PASS_SOCKETS: &str =
    r#"exec 3<&0 4<&2 0</dev/null 2>&1; LISTEN_PID=$$ LISTEN_FDS=2 exec "$@""#;

/// Returns a command that starts the server with these inherited sockets. It logs to stdout.
pub(crate) fn activated(
    first: impl Into<OwnedFd>,
    second: impl Into<OwnedFd>,
    flags: &[&str],
) -> Command {
    let mut command = isolated("sh");
    command
        .args(["-c", PASS_SOCKETS, "sh", env!("CARGO_BIN_EXE_chime-server")])
        .args(flags)
        .stdin(first.into())
        .stderr(second.into())
        .stdout(Stdio::piped());
    command
}
