//! The interactive prompt.

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
use crate::server_address::Transport;

use editor::Editor;

/// Shows the welcome, if there is one, then sends each typed line, until the user or the server quits.
pub(crate) fn run(runtime: &Runtime, endpoint: &Endpoint) -> Result<u8, CliError> {
    let connection = match endpoint.transport {
        Transport::Tcp => Some(runtime.block_on(endpoint.greet())?),
        Transport::Udp => None,
    };
    let mut client = ReconnectingClient {
        runtime,
        endpoint,
        connection,
    };
    let mut editor = Editor::new(endpoint)?;
    if endpoint.transport == Transport::Tcp {
        show(Reply::Welcome)?;
    }
    while let Some(text) = editor.read()? {
        // Pasted text may be several lines. Blank lines are not sent.
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let request = names::request_of(line);
            let reply = match endpoint.transport {
                Transport::Tcp => client.ask(request),
                Transport::Udp => client.ask_udp(request),
            };
            match reply {
                Ok(Some(Reply::Farewell)) => return show(Reply::Farewell).and(Ok(0)),
                Ok(Some(reply)) => {
                    show(reply)?;
                    if let Some(suggestion) = suggestion(request, reply) {
                        eprint_line(&suggestion);
                    }
                }
                Ok(None) => return Ok(0),
                Err(error) => {
                    eprint_line(&error.describe(&endpoint.server));
                    break;
                }
            }
        }
    }
    Ok(0)
}

/// A client that reconnects when its connection is lost.
struct ReconnectingClient<'a> {
    runtime: &'a Runtime,
    endpoint: &'a Endpoint,
    /// None after a failure: the next request reconnects.
    connection: Option<Connection<TcpStream>>,
}

impl ReconnectingClient<'_> {
    /// Sends one request over UDP. A request to quit is not sent.
    fn ask_udp(&self, line: &str) -> Result<Option<Reply>, CliError> {
        match Request::of_line(line) {
            Request::Command(command) if command.is_time_command() => {
                let reply = self.endpoint.ask_udp(command);
                self.runtime.block_on(reply).map(Some)
            }
            request if request.is_quit() => Ok(None),
            _ => Err(CliError::NotOverUdp),
        }
    }

    /// Sends one request, and again over a new connection if the connection is lost. All requests are
    /// idempotent.
    fn ask(&mut self, line: &str) -> Result<Option<Reply>, CliError> {
        let server = &self.endpoint.server;
        if let Some(connection) = self.connection.take() {
            match self.ask_over(connection, line) {
                Err(Error::Closed | Error::Io(_)) => {
                    eprint_line(&format!("the connection to {server} was lost"));
                }
                reply => return Ok(reply?),
            }
        }
        if Request::of_line(line).is_quit() {
            return Ok(None);
        }
        let connection = self.runtime.block_on(self.endpoint.greet())?;
        eprint_line(&format!("reconnected to {server}"));
        Ok(self.ask_over(connection, line)?)
    }

    /// Sends a request over `connection`, and keeps the connection if that succeeds.
    fn ask_over(
        &mut self,
        mut connection: Connection<TcpStream>,
        line: &str,
    ) -> Result<Option<Reply>, Error> {
        let reply = self.endpoint.timed("replied", connection.ask(line));
        let reply = self.runtime.block_on(reply)?;
        self.connection = Some(connection);
        Ok(reply)
    }
}

/// Returns a suggestion after an invalid command.
fn suggestion(line: &str, reply: Reply) -> Option<String> {
    if reply != Reply::CommandError || Request::of_line(line) != Request::Invalid {
        return None;
    }
    let nearest = names::nearest(line.trim(), names::requests());
    let first_word = line.split_whitespace().next();
    Some(match nearest.first() {
        _ if first_word.is_some_and(|word| word.eq_ignore_ascii_case("sum")) => {
            "type digits without spaces, such as 12345".to_owned()
        }
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

    use super::suggestion;

    #[test]
    fn a_mistyped_command_gets_a_suggestion() {
        for (line, name) in [
            ("dya", "day"),
            ("DAT", "day"),
            ("tiem", "time"),
            (" hlep ", "help"),
            ("sendtime", "send time"),
            ("qiut", "quit"),
        ] {
            let expected = Some(format!("did you mean '{name}'?"));
            assert_eq!(suggestion(line, Reply::CommandError), expected, "{line}");
        }
        for line in ["sum 12 3", " SUM x", "sum"] {
            let expected = Some("type digits without spaces, such as 12345".to_owned());
            assert_eq!(suggestion(line, Reply::CommandError), expected, "{line}");
        }
        for line in ["what?", "12a45678"] {
            let expected = Some(Reply::Help.to_string());
            assert_eq!(suggestion(line, Reply::CommandError), expected, "{line}");
        }
    }

    #[test]
    fn a_valid_command_of_another_service_gets_no_suggestion() {
        for line in ["day", "12345", "help"] {
            assert_eq!(suggestion(line, Reply::CommandError), None, "{line}");
        }
        assert_eq!(suggestion("what?", Reply::DigitError), None);
        assert_eq!(suggestion("day", Reply::Sum(1)), None);
    }
}
