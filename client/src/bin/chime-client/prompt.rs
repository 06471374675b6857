//! The prompt: a conversation with a person at a terminal.

mod editor;

use std::io::{self, Write};

use chime_client::{Connection, Error};
use chime_protocol::{Reply, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::endpoint::Endpoint;
use crate::names;

use editor::Editor;

/// Shows the welcome, then asks what is typed, until the person or the server ends it.
pub(crate) fn run(runtime: &Runtime, endpoint: &Endpoint) -> Result<u8, CliError> {
    let mut client = ReconnectingClient {
        runtime,
        endpoint,
        connection: Some(runtime.block_on(endpoint.greet())?),
    };
    let mut editor = Editor::new(endpoint)?;
    show(Reply::Welcome)?;
    while let Some(text) = editor.read()? {
        // What is pasted may be several lines; a bare Enter is no request.
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match client.ask(names::expand(line)) {
                Ok(Some(Reply::Farewell)) => return show(Reply::Farewell).and(Ok(0)),
                Ok(Some(reply)) => {
                    show(reply)?;
                    if let Some(advice) = advice(line, reply) {
                        eprint_line(&advice);
                    }
                }
                Ok(None) => return Ok(0),
                Err(failure) => {
                    eprint_line(&failure.describe(&endpoint.server));
                    break;
                }
            }
        }
    }
    Ok(0)
}

/// A conversation with a server that may go away and come back.
struct ReconnectingClient<'a> {
    runtime: &'a Runtime,
    endpoint: &'a Endpoint,
    /// None after a failure: the next request begins another.
    connection: Option<Connection<TcpStream>>,
}

impl ReconnectingClient<'_> {
    /// Asks one request, over another connection if the one there was is lost. No request does any harm
    /// if it is asked twice.
    fn ask(&mut self, line: &str) -> Result<Option<Reply>, CliError> {
        let server = &self.endpoint.server;
        if let Some(connection) = self.connection.take() {
            match self.ask_over(connection, line) {
                Err(Error::Closed | Error::Io(_)) => {
                    eprint_line(&format!("the connection to {server} was lost"));
                }
                answer => return Ok(answer?),
            }
        }
        if Request::of_line(line).is_quit() {
            return Ok(None);
        }
        let connection = self.runtime.block_on(self.endpoint.greet())?;
        eprint_line(&format!("connected to {server} again"));
        Ok(self.ask_over(connection, line)?)
    }

    /// Asks over this connection, which is kept for the next request if all goes well.
    fn ask_over(
        &mut self,
        mut connection: Connection<TcpStream>,
        line: &str,
    ) -> Result<Option<Reply>, Error> {
        let answer = self.endpoint.timed("answered", connection.ask(line));
        let answer = self.runtime.block_on(answer)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// What to ask instead of a word that is no command.
fn advice(line: &str, reply: Reply) -> Option<String> {
    if reply != Reply::CommandError || Request::of_line(line) != Request::Invalid {
        return None;
    }
    let nearest = names::nearest(line.trim(), names::requests());
    Some(match nearest.first() {
        Some(name) => format!("did you mean '{name}'?"),
        None => Reply::Help.to_string(),
    })
}

fn show(reply: Reply) -> Result<(), CliError> {
    writeln!(io::stdout(), "{reply}").map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use chime_protocol::Reply;

    use super::advice;

    #[test]
    fn a_word_that_is_no_command_may_be_near_one() {
        for (line, name) in [
            ("dya", "day"),
            ("DAT", "day"),
            ("tiem", "time"),
            (" hlep ", "help"),
            ("sendtime", "send time"),
            ("qiut", "quit"),
        ] {
            let expected = Some(format!("did you mean '{name}'?"));
            assert_eq!(advice(line, Reply::CommandError), expected, "{line}");
        }
        for line in ["what?", "sum 12345", "12a45678"] {
            let expected = Some(Reply::Help.to_string());
            assert_eq!(advice(line, Reply::CommandError), expected, "{line}");
        }
    }

    #[test]
    fn there_is_no_advice_on_what_the_service_does_not_offer() {
        for line in ["day", "12345", "help"] {
            assert_eq!(advice(line, Reply::CommandError), None, "{line}");
        }
        assert_eq!(advice("what?", Reply::DigitError), None);
        assert_eq!(advice("day", Reply::Sum(1)), None);
    }
}
