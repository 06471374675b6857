//! The error type.

use std::error;
use std::fmt;
use std::io;
use std::time::Duration;

use chime_protocol::{Command, Reply};

/// The error type of the client.
///
/// [`Display`](fmt::Display) writes one line without control characters: bytes of the server are escaped.
#[derive(Debug)]
pub enum Error {
    /// The server is full: it sent the full notice in place of the welcome.
    Full,
    /// The server closed the connection while a reply was due.
    Closed,
    /// The welcome, a reply or another action of the server was not complete within the timeout.
    TimedOut {
        /// The timeout.
        after: Duration,
        /// Whether a part of a line arrived. A server with `--framing read` never ends a line.
        mid_line: bool,
    },
    /// A line, the start of an overlong line, or a datagram that is not a reply of this protocol.
    UnknownReply(Vec<u8>),
    /// A reply that does not fit the request, or that arrived without a request.
    Unexpected(Reply),
    /// The stream or the datagram socket failed.
    Io(io::Error),
    /// The server replied with this error to a sum, or to a command with a method of its own.
    ErrorReply(Reply),
    /// Reading the input of a [`Pipe`](crate::Pipe) or of a sum failed.
    Input(io::Error),
    /// The input of a sum has a byte that is neither a digit nor white space that is ignored.
    NotDigit {
        /// The number of bytes before it.
        offset: u64,
        /// The byte.
        byte: u8,
    },
    /// The input of a sum has no digits.
    NoDigits,
    /// The request contains a newline. Nothing was sent.
    MultipleLines,
    /// The command is not available over UDP. Nothing was sent.
    NotOverUdp(Command),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Full => write!(f, "the server is full"),
            Error::Closed => write!(f, "the server closed the connection"),
            Error::TimedOut { after, mid_line } => match mid_line {
                false => write!(f, "no reply within {after:?}"),
                true => write!(f, "a line began but did not end within {after:?}"),
            },
            Error::UnknownReply(bytes) => {
                let text = bytes.escape_ascii();
                write!(f, "unknown reply '{text}'")
            }
            Error::Unexpected(reply) => write!(f, "unexpected reply '{reply}'"),
            Error::Io(error) => write!(f, "{error}"),
            Error::ErrorReply(reply) => write!(f, "the server replied '{reply}'"),
            Error::Input(error) => write!(f, "cannot read the input: {error}"),
            Error::NotDigit { offset, byte } => {
                let text = byte.escape_ascii();
                write!(f, "byte '{text}' at offset {offset} is not a digit")
            }
            Error::NoDigits => write!(f, "no digits"),
            Error::MultipleLines => write!(f, "the request contains a newline"),
            Error::NotOverUdp(command) => {
                write!(f, "'{}' is not available over UDP", command.name())
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // The message has the error itself.
            Error::Io(error) | Error::Input(error) => error.source(),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    /// Maps the errors of a closed peer, such as a reset, to [`Error::Closed`].
    fn from(error: io::Error) -> Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};

        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset => Error::Closed,
            _ => Error::Io(error),
        }
    }
}
