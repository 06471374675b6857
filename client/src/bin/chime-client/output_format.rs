//! What answers look like on standard output.

use std::io::Write;

use chime_protocol::Reply;
use serde_json::json;

use crate::cli_error::CliError;

/// The exit code when the server answered with an error.
const ERROR_REPLY: u8 = 1;

/// What answers look like on standard output.
///
/// A [`Reply`] is one of few texts, so nothing that is written here can move the cursor of a terminal
/// or colour it, whatever a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// The reply as it came.
    Text,
    /// An object on a line, as documented by `--help`.
    Json,
}

impl OutputFormat {
    /// Writes the answer to a request, if that has been kept, and returns the exit code. There may be
    /// no reply to a request to quit.
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
