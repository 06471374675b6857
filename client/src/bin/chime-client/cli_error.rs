//! The errors of the program: their messages and exit codes.

use std::io;
use std::time::Duration;

use chime_client::Error;

use crate::digit_source::DigitSource;
use crate::server_address::ServerAddress;

/// An error that ends the program.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The server address could not be resolved.
    Resolve(io::Error),
    /// Connecting failed for every address.
    Connect(io::Error),
    /// The connection or the protocol failed.
    Client(Error),
    /// The greeting did not arrive on all connections within this timeout.
    NoGreeting(Duration),
    /// More replies than requests arrived.
    ExcessReplies,
    /// The server closed before it replied to a line of digits.
    ClosedMidLine,
    /// The input of a sum could not be read, or is not digits.
    Digits(DigitSource, Error),
    /// UDP does not offer the request.
    NotOverUdp,
    /// The terminal could not be read.
    Input(io::Error),
    /// Standard output could not be written.
    Output(io::Error),
}

impl CliError {
    /// Converts an error of a UDP request. An I/O error of the socket means that it could not reach the server.
    pub(crate) fn from_udp(error: Error) -> CliError {
        match error {
            Error::Io(error) => CliError::Connect(error),
            error => CliError::Client(error),
        }
    }

    /// Whether to exit silently: the reader of standard output has closed it.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns the exit code, as documented by `--help`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::Resolve(error) | CliError::Connect(error) => match error.kind() {
                io::ErrorKind::TimedOut => 4,
                _ => 3,
            },
            CliError::Client(error) => match error {
                Error::Full | Error::ErrorReply(_) => 1,
                Error::Input(_) | Error::NotDigit { .. } | Error::NoDigits => 2,
                Error::MultipleLines | Error::NotOverUdp(_) => 2,
                Error::Closed | Error::Io(_) => 3,
                Error::TimedOut { .. } => 4,
                Error::UnknownReply(_) | Error::Unexpected(_) => 5,
            },
            CliError::ClosedMidLine => 3,
            CliError::NoGreeting(_) => 4,
            CliError::ExcessReplies => 5,
            CliError::Output(_) if self.is_quiet() => 0,
            CliError::Digits(..) | CliError::Input(_) | CliError::Output(_) => 2,
            CliError::NotOverUdp => 2,
        }
    }

    /// Returns a one-line message: what failed, on `server`, why, and what to try.
    pub(crate) fn describe(&self, server: &ServerAddress) -> String {
        match self {
            CliError::Resolve(error) => {
                let cause = cause(error);
                format!("cannot find {server}: {cause}; is the name right?")
            }
            CliError::Connect(error) => {
                let cause = cause(error);
                format!("cannot connect to {server}: {cause}; is chime-server running there?")
            }
            CliError::Client(Error::Input(error)) | CliError::Input(error) => {
                let cause = cause(error);
                format!("cannot read standard input: {cause}; give it a file or a pipe")
            }
            CliError::Client(Error::Io(error)) => {
                let cause = cause(error);
                format!("the connection to {server} failed: {cause}; try again")
            }
            CliError::Client(error) => format!("{server}: {error}; {}", hint(error)),
            CliError::NoGreeting(after) => {
                format!(
                    "{server}: some connections were not ready within {after:?}; \
                     a server without a greeting needs --greeting-lines 0"
                )
            }
            CliError::ExcessReplies => {
                format!(
                    "{server}: more replies than requests; \
                     are --greeting-lines and --reply-lines right?"
                )
            }
            CliError::ClosedMidLine => {
                format!(
                    "{server}: the server closed the connection before it replied to the line; \
                     try again, and save a slow input to a file first"
                )
            }
            CliError::NotOverUdp => {
                "UDP has only day, date, time and now; the others need TCP".to_owned()
            }
            CliError::Digits(source, error) => describe_source(source, error),
            CliError::Output(error) => {
                let cause = cause(error);
                format!("cannot write standard output: {cause}; is the disk full?")
            }
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        CliError::Client(error)
    }
}

/// Returns a one-line message about the input of a sum: what failed, and what to try.
fn describe_source(source: &DigitSource, error: &Error) -> String {
    match (source, error) {
        (DigitSource::File(_), Error::Input(error)) => {
            let cause = cause(error);
            format!("cannot read {source}: {cause}; is it the right file?")
        }
        (DigitSource::StandardInput, Error::Input(error)) => {
            let cause = cause(error);
            format!("cannot read {source}: {cause}; give it a file or a pipe")
        }
        (_, Error::NotDigit { byte, .. }) if byte.is_ascii_whitespace() => {
            format!("{source}: {error}; --ignore-whitespace allows white space between digits")
        }
        (_, error) => {
            format!("{source}: {error}; only the digits 0 to 9 are allowed, and white space")
        }
    }
}

/// Returns what to try after `error`.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::Full => "try again later",
        Error::TimedOut { mid_line: true, .. } => "does the server run with --framing read?",
        Error::TimedOut { .. } => "is it a chime server? a longer --timeout may help",
        Error::UnknownReply(_) | Error::Unexpected(_) => "is it a chime server?",
        Error::MultipleLines => "send one line at a time",
        Error::NotOverUdp(_) => "use TCP",
        _ => "try again",
    }
}

/// Returns the text of an error without its OS error number, in lowercase.
fn cause(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(number) = text.find(" (os error") {
        text.truncate(number);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}
