//! What the program writes to standard error.

use std::io::{self, Write};

/// Writes a line to standard error, after the name of the program.
///
/// A failure is ignored: the exit code still reports the outcome.
pub(crate) fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "chime-client: {line}");
}
