//! The command `chime-client sum` for the digits of a file or of standard input, in constant memory.

mod progress;

use std::io::{self, Cursor};

use chime_client::Error;
use chime_protocol::Reply;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::InspectReader;

use crate::cli_error::CliError;
use crate::digit_source::DigitSource;
use crate::endpoint::Endpoint;
use crate::output_format::OutputFormat;

use progress::Progress;

/// The bytes to buffer before connecting.
const BLOCK_BYTES: u64 = 65_536;

/// Sends the digits of `source` as one line, prints their sum and returns the exit code.
pub(crate) async fn run(
    source: &DigitSource,
    ignores_white_space: bool,
    format: OutputFormat,
    endpoint: &Endpoint,
) -> Result<u8, CliError> {
    let to_cli_error = |error| match error {
        Error::Closed => CliError::ClosedMidLine,
        Error::Input(_) | Error::NotDigit { .. } | Error::NoDigits => {
            CliError::Digits(source.clone(), error)
        }
        error => CliError::Client(error),
    };
    let digits = read(source)
        .await
        .map_err(|error| to_cli_error(Error::Input(error)))?;
    let mut connection = endpoint.greet().await?;
    let sum = async {
        match ignores_white_space {
            true => connection.sum_ignoring_white_space(digits).await,
            false => connection.sum(digits).await,
        }
    };
    let reply = match endpoint.timed("replied", sum).await {
        Ok(sum) => Reply::Sum(sum),
        Err(Error::ErrorReply(reply)) => reply,
        Err(error) => return Err(to_cli_error(error)),
    };
    format.print(endpoint, None, Some(reply))
}

/// Opens the source and buffers a full block, or all of it, before anything is sent.
///
/// A server closes connections that are idle or that stall within a line.
async fn read(source: &DigitSource) -> io::Result<impl AsyncRead + Unpin> {
    let (mut input, length) = source.open().await?;
    let mut block = Vec::new();
    (&mut input)
        .take(BLOCK_BYTES)
        .read_to_end(&mut block)
        .await?;
    // At a terminal, EOF ends one read only: do not read again.
    let is_ended = (block.len() as u64) < BLOCK_BYTES;
    let rest = input.take(if is_ended { 0 } else { u64::MAX });
    let progress = Progress::new(length);
    let all = Cursor::new(block).chain(rest);
    Ok(InspectReader::new(all, move |bytes| {
        progress.advance(bytes.len())
    }))
}
