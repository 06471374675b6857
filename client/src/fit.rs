//! Which replies answer which requests.

use chime_protocol::{Command, Reply, Request};

/// Whether a server of any service may answer `request` with `reply`.
pub(crate) fn answers(reply: Reply, request: Request) -> bool {
    let is_error = matches!(reply, Reply::CommandError | Reply::DigitError);
    match request {
        request if is_quit(request) => reply == Reply::Farewell,
        Request::Command(command) => is_error || answers_command(reply, command),
        Request::Digits(_) => is_error || matches!(reply, Reply::Sum(_)),
        Request::Invalid => is_error,
    }
}

/// Whether `reply` is of the kind that `command` asks for.
pub(crate) fn answers_command(reply: Reply, command: Command) -> bool {
    matches!(
        (command, reply),
        (Command::Day, Reply::Weekday(_))
            | (Command::Date, Reply::Date(_))
            | (Command::Time, Reply::Time(_))
            | (Command::SendTime, Reply::DateTime(_))
            | (Command::Help, Reply::Help)
            | (Command::Quit | Command::Exit, Reply::Farewell)
    )
}

/// Whether the server closes after `request`, some without a reply.
pub(crate) fn is_quit(request: Request) -> bool {
    matches!(request, Request::Command(Command::Quit | Command::Exit))
}
