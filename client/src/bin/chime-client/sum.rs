//! The command `chime-client sum` for digits of a file or of standard input: as many as there are, in
//! constant memory.

mod progress;

use std::fmt;
use std::io::{self, Cursor};
use std::path::PathBuf;

use chime_client::Error;
use chime_protocol::Reply;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::InspectReader;

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::output_format::OutputFormat;

use progress::Progress;

/// The most bytes that are awaited before the server is.
const BLOCK_BYTES: u64 = 65_536;

/// Where digits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    StandardInput,
}

impl Source {
    /// Opens it, and tells how many bytes it has if that is known.
    async fn open(&self) -> io::Result<(Box<dyn AsyncRead + Unpin>, Option<u64>)> {
        let Source::File(path) = self else {
            return Ok((Box::new(tokio::io::stdin()), None));
        };
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(file), length))
    }

    /// Opens it and waits for a full block, or all that there is, before it gives anything.
    ///
    /// A server waits neither for a connection that says nothing nor for a line that stands still.
    async fn read(&self) -> io::Result<impl AsyncRead + Unpin> {
        let (mut input, length) = self.open().await?;
        let mut block = Vec::new();
        (&mut input)
            .take(BLOCK_BYTES)
            .read_to_end(&mut block)
            .await?;
        // A person at a terminal ends an input for one read only.
        let is_ended = (block.len() as u64) < BLOCK_BYTES;
        let rest = input.take(if is_ended { 0 } else { u64::MAX });
        let progress = Progress::new(length);
        let all = Cursor::new(block).chain(rest);
        Ok(InspectReader::new(all, move |bytes| {
            progress.tell(bytes.len())
        }))
    }
}

impl fmt::Display for Source {
    /// A name of a file may hold anything; what is written is one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display().to_string().escape_debug()),
            Source::StandardInput => write!(f, "standard input"),
        }
    }
}

/// Sends the digits of `source` as one line, prints their sum and returns the exit code.
pub(crate) async fn run(
    source: &Source,
    format: OutputFormat,
    endpoint: &Endpoint,
) -> Result<u8, Failure> {
    let failure = |error| match error {
        Error::Closed => Failure::LineCut,
        Error::Input(_) | Error::NotDigit { .. } | Error::NoDigits => {
            Failure::Source(source.clone(), error)
        }
        error => Failure::Conversation(error),
    };
    let digits = source
        .read()
        .await
        .map_err(|error| failure(Error::Input(error)))?;
    let mut connection = crate::greet(endpoint).await?;
    let reply = match endpoint.timed("answered", connection.sum(digits)).await {
        Ok(sum) => Reply::Sum(sum),
        Err(Error::ErrorReply(reply)) => reply,
        Err(error) => return Err(failure(error)),
    };
    format.write(&mut io::stdout(), None, Some(reply))
}
