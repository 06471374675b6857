//! The specification as examples: a transcript for each rule, byte for byte.

mod commands;
mod datagrams;
mod framings;

use chime_protocol::{Framing, Progress, Service, Session, Status};
use chrono::NaiveDateTime;

const COMMAND_ERROR: &str = "You entered an invalid command\n";
const DIGIT_ERROR: &str = "Please enter a valid String of Digits or type 'quit' to exit.\n";
const FAREWELL: &str = "Thank You .. See You soon !! \n";

/// A server whose output buffer fits every reply, and its clock.
struct Server {
    session: Session,
    now: NaiveDateTime,
    is_closed: bool,
}

impl Server {
    /// Creates a server with framing `line` that has sent the welcome.
    fn with_lines(service: Service) -> Server {
        let mut server = Server::new(Session::new(service, Framing::Line));
        assert_eq!(server.read(""), "Welcome to the server\n");
        server
    }

    /// Creates a server with framing `read` that has sent the welcome.
    fn with_reads(service: Service) -> Server {
        let mut server = Server::new(Session::new(service, Framing::Read));
        assert_eq!(server.read(""), "Welcome to the server");
        server
    }

    fn new(session: Session) -> Server {
        Server {
            session,
            now: at("2026-11-21 06:32:06.123456"),
            is_closed: false,
        }
    }

    /// Returns the bytes that the server sends after a read of `bytes`.
    fn read(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let mut output = vec![0; 10_000];
        let progress = self.session.advance(bytes.as_ref(), &mut output, self.now);
        self.sent(&output, progress)
    }

    /// Returns the bytes that the server sends at EOF.
    fn end(&mut self) -> String {
        let mut output = vec![0; 10_000];
        let progress = self.session.finish(&mut output, self.now);
        let sent = self.sent(&output, progress);
        assert!(self.is_closed, "a server closes at EOF");
        sent
    }

    fn sent(&mut self, output: &[u8], progress: Progress) -> String {
        assert_ne!(progress.status, Status::OutputFull);
        self.is_closed = progress.status == Status::Closed;
        String::from_utf8(output[..progress.written].to_vec()).expect("replies are ASCII")
    }
}

/// Parses an instant.
fn at(instant: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(instant, "%Y-%m-%d %H:%M:%S%.f").expect("the instant is valid")
}
