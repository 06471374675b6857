//! Why there is no answer.

use std::error;
use std::fmt;
use std::io;
use std::time::Duration;

use chime_protocol::{Command, Reply};

/// Why there is no answer.
///
/// [`Display`](fmt::Display) says it in one line, in which whatever a server sent is escaped.
#[derive(Debug)]
pub enum Error {
    /// The server has no room for this client, and said so in place of the welcome.
    Full,
    /// The server closed the connection with something still due.
    Closed,
    /// What the server owed, such as a whole reply, was not complete within the timeout.
    TimedOut {
        /// The timeout.
        after: Duration,
        /// Whether a line had begun: a server with the framing `read` never ends one.
        mid_line: bool,
    },
    /// A line, or the start of one that is too long, or a datagram that no server of this protocol
    /// sends.
    UnknownReply(Vec<u8>),
    /// A reply that does not answer what was asked.
    Unexpected(Reply),
    /// The stream or the datagram socket failed.
    Io(io::Error),
    /// The server answered with this error what has to be answered otherwise.
    ErrorReply(Reply),
    /// The input of a [`Pipe`](crate::Pipe) or of a sum failed.
    Input(io::Error),
    /// The input of a sum has a byte that is no digit, nor white space at its end.
    NotDigit {
        /// How many bytes there are before it.
        offset: u64,
        /// The byte.
        byte: u8,
    },
    /// The input of a sum has no digits.
    NoDigits,
    /// The request has a line end in it, which makes it several; nothing was sent.
    MultipleLines,
    /// The command is not one that UDP serves; nothing was sent.
    NotOverUdp(Command),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Full => write!(f, "the server is full"),
            Error::Closed => write!(f, "the server closed the connection"),
            Error::TimedOut { after, mid_line } => match mid_line {
                false => write!(f, "no answer within {after:?}"),
                true => write!(f, "a line was begun but did not end within {after:?}"),
            },
            Error::UnknownReply(bytes) => {
                let text = bytes.escape_ascii();
                write!(f, "'{text}' is no reply of this protocol")
            }
            Error::Unexpected(reply) => write!(f, "'{reply}' does not answer what was asked"),
            Error::Io(error) => write!(f, "{error}"),
            Error::ErrorReply(reply) => write!(f, "the server answered '{reply}'"),
            Error::Input(error) => write!(f, "cannot read the input: {error}"),
            Error::NotDigit { offset, byte } => {
                let text = byte.escape_ascii();
                write!(f, "the byte '{text}' at offset {offset} is no digit")
            }
            Error::NoDigits => write!(f, "there are no digits"),
            Error::MultipleLines => write!(f, "a request with a line end in it is more than one"),
            Error::NotOverUdp(command) => write!(f, "UDP does not serve '{}'", command.name()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Io(error) | Error::Input(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    /// The ways in which a stream says that the other end has gone are one: [`Error::Closed`].
    fn from(error: io::Error) -> Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};

        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset => Error::Closed,
            _ => Error::Io(error),
        }
    }
}
