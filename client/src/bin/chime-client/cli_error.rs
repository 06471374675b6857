//! Why the program ends without the answer: the line that says so, and the exit code.

use std::io;
use std::time::Duration;

use chime_client::Error;

use crate::digit_source::DigitSource;
use crate::server_address::ServerAddress;

/// Why the program ends without the answer.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The server's name has no address.
    Resolve(io::Error),
    /// No address of the server could be connected to.
    Connect(io::Error),
    /// The conversation failed.
    Client(Error),
    /// The server did not say within this time what it says first.
    NoGreeting(Duration),
    /// More replies than requests have come.
    ExcessReplies,
    /// The server closed before it answered a line of digits.
    ClosedMidLine,
    /// The digits cannot be read, or are none.
    Digits(DigitSource, Error),
    /// The terminal could not be read.
    Input(io::Error),
    /// Standard output could not be written.
    Output(io::Error),
}

impl CliError {
    /// A socket for datagrams only fails when no one is there.
    pub(crate) fn from_udp(error: Error) -> CliError {
        match error {
            Error::Io(error) => CliError::Connect(error),
            error => CliError::Client(error),
        }
    }

    /// Whether there is nothing to say: whoever read the output has had enough.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code, as documented by `--help`.
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
        }
    }

    /// What happened with `server` and what to try, in one line.
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
                    "{server}: not all connections were ready within {after:?}; \
                     a server that says nothing first needs --greeting-lines 0"
                )
            }
            CliError::ExcessReplies => {
                format!(
                    "{server}: there are more replies than requests; \
                     are --greeting-lines and --reply-lines right?"
                )
            }
            CliError::ClosedMidLine => {
                format!(
                    "{server}: the server closed the connection before the line was answered; \
                     try again, and save what comes slowly to a file first"
                )
            }
            CliError::Digits(source, error) => describe_source(source, error),
            CliError::Output(error) => {
                let cause = cause(error);
                format!("cannot write standard output: {cause}; is there room for it?")
            }
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        CliError::Client(error)
    }
}

/// What is wrong with the digits and what to try, in one line.
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
        (_, error) => format!(
            "{source}: {error}; there must be digits, 0 to 9, and nothing else but white space at the end"
        ),
    }
}

/// What to try after an error of a conversation.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::Full => "try again later",
        Error::TimedOut { mid_line: true, .. } => "does it run with --framing read?",
        Error::TimedOut { .. } => "is it a chime server? a longer --timeout may help",
        Error::UnknownReply(_) | Error::Unexpected(_) => "is it a chime server?",
        Error::MultipleLines => "ask its lines one at a time",
        Error::NotOverUdp(_) => "ask over TCP",
        _ => "try again",
    }
}

/// The text of an error, without its number and as the middle of a sentence.
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
