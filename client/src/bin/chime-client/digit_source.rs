//! The file or standard input whose digits `chime-client sum` sums.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncRead;

/// The input of `chime-client sum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DigitSource {
    File(PathBuf),
    StandardInput,
}

impl DigitSource {
    /// Opens the input, and returns it with its length in bytes if that is known.
    pub(crate) async fn open(&self) -> io::Result<(Box<dyn AsyncRead + Unpin>, Option<u64>)> {
        let DigitSource::File(path) = self else {
            return Ok((Box::new(tokio::io::stdin()), None));
        };
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(file), length))
    }
}

impl fmt::Display for DigitSource {
    /// Writes one line: control characters in a file name are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DigitSource::File(path) => write!(f, "{}", path.display().to_string().escape_debug()),
            DigitSource::StandardInput => write!(f, "standard input"),
        }
    }
}
