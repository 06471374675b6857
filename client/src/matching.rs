//! Matches replies with requests.

use chime_protocol::{Command, Reply, Request};

/// Whether any service may reply to `request` with `reply`.
pub(crate) fn is_answer_to(reply: Reply, request: Request) -> bool {
    let is_error = matches!(reply, Reply::CommandError | Reply::DigitError);
    match request {
        Request::Command(command) => {
            is_answer_to_command(reply, command) || is_error && !request.is_quit()
        }
        Request::Digits(_) => is_error || matches!(reply, Reply::Sum(_)),
        Request::Invalid => is_error,
    }
}

/// Whether `reply` is the kind of reply that `command` requests.
pub(crate) fn is_answer_to_command(reply: Reply, command: Command) -> bool {
    match command {
        Command::Day => matches!(reply, Reply::Weekday(_)),
        Command::Date => matches!(reply, Reply::Date(_)),
        Command::Time => matches!(reply, Reply::Time(_)),
        Command::SendTime => matches!(reply, Reply::DateTime(_)),
        Command::Help => reply == Reply::Help,
        Command::Quit | Command::Exit => reply == Reply::Farewell,
    }
}
