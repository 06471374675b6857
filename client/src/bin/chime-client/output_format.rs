//! The format of replies on standard output.

use std::io::{self, Write};

use chime_protocol::Reply;
use serde_json::json;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::endpoint::Endpoint;

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
    /// Prints the reply to a single request, and returns the exit code. An error reply as text goes to standard error.
    pub(crate) fn print(
        self,
        endpoint: &Endpoint,
        request: Option<&str>,
        reply: Option<Reply>,
    ) -> Result<u8, CliError> {
        match (self, reply) {
            (OutputFormat::Text, Some(reply)) if reply.is_error() => {
                eprint_line(&format!("{}: {reply}", endpoint.server));
                Ok(ERROR_REPLY)
            }
            _ => self.write(&mut io::stdout(), request, reply),
        }
    }

    /// Writes a reply and returns the exit code.
    ///
    /// `request` is none if it was not kept. `reply` is none if the server closed after `quit` instead.
    pub(crate) fn write(
        self,
        output: &mut impl Write,
        request: Option<&str>,
        reply: Option<Reply>,
    ) -> Result<u8, CliError> {
        let is_error = reply.is_some_and(Reply::is_error);
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
