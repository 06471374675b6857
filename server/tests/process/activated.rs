//! A server that inherits its sockets, as from a service manager.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Makes the input and the error output the descriptors 3 and 4, and tells the command that comes
/// behind of them as a service manager does.
const PASS_ON: &str = r#"exec 3<&0 4<&2 0</dev/null 2>&1; LISTEN_PID=$$ LISTEN_FDS=2 exec "$@""#;

/// A server that inherits these; what it logs goes to its output.
pub(crate) fn activated(
    first: impl Into<OwnedFd>,
    second: impl Into<OwnedFd>,
    flags: &[&str],
) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", PASS_ON, "sh", env!("CARGO_BIN_EXE_chime-server")])
        .args(flags)
        .stdin(first.into())
        .stderr(second.into())
        .stdout(Stdio::piped());
    command
}
