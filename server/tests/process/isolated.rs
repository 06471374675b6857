//! Programs whose behaviour does not depend on the environment of the tests.

use std::env;
use std::process::Command;

/// Variables that could change what a program prints or does, beside those that begin with `CHIME_`.
const VARIABLES: [&str; 8] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "LC_ALL",
    "NOTIFY_SOCKET",
    "NO_COLOR",
    "TZ",
    "TZDIR",
];

/// Returns a command that does not inherit these variables.
pub(crate) fn isolated(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CHIME_") || VARIABLES.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}
