//! The format of replies on standard output.

use std::io::Write;

use chime_protocol::Reply;
use serde_json::json;

use crate::cli_error::CliError;

/// The exit code for an error reply.
const ERROR_REPLY: u8 = 1;

/// The format of replies on standard output.
///
/// A [`Reply`] has no control characters, so a hostile server cannot send escape sequences to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// The text of the reply.
    Text,
    /// A JSON object on a line, as documented by `--help`.
    Json,
}

impl OutputFormat {
    /// Writes a reply and returns the exit code.
    ///
    /// `request` is none if it was not kept. `reply` is none if the server closed after `quit` instead.
    pub(crate) fn write(
        self,
        output: &mut impl Write,
        request: Option<&str>,
        reply: Option<Reply>,
    ) -> Result<u8, CliError> {
        let is_error = matches!(reply, Some(Reply::CommandError | Reply::DigitError));
        match (self, reply) {
            (OutputFormat::Text, None) => Ok(()),
            (OutputFormat::Text, Some(reply)) => writeln!(output, "{reply}"),
            (OutputFormat::Json, reply) => {
                let sum = match reply {
                    Some(Reply::Sum(sum)) => Some(sum),
                    _ => None,
                };
                let object = json!({
                    "request": request,
                    "reply": reply.map(|reply| reply.to_string()),
                    "sum": sum,
                    "is_error": is_error,
                });
                writeln!(output, "{object}")
            }
        }
        .map_err(CliError::Output)?;
        Ok(if is_error { ERROR_REPLY } else { 0 })
    }
}
