//! The client's side of chime: conversations over any stream, and single questions over datagrams.
//!
//! [`Connection`] asks one request at a time. [`Connection::pipe`] sends requests as they come, ahead of
//! their replies, in constant memory. [`ask_datagram`] asks for the time where datagrams may get lost.
//! The protocol itself, with every request and reply, is specified by the crate [`chime_protocol`].
//!
//! What this crate does **not** do: it opens no sockets, resolves no names, starts no tasks, prints
//! nothing, and never connects again by itself. Streams and datagrams come in as arguments and all
//! deadlines are those of [`tokio::time`], so simulated networks drive the same code; the command
//! `chime-client` brings the real ones.
//!
//! Nothing is assumed of a server: every wait has a deadline, no reply is kept beyond its length, and
//! what is no fitting reply is an [`Error`] that shows it escaped.
//!
//! ```
//! use std::time::Duration;
//!
//! use chime_client::Connection;
//! use chime_protocol::{Command, Reply};
//! use tokio::io::AsyncWriteExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), chime_client::Error> {
//! let (stream, mut server) = tokio::io::duplex(64);
//! server.write_all(b"Welcome to the server\n").await?;
//! let mut connection = Connection::greet(stream, Duration::from_secs(10)).await?;
//!
//! let answer = connection.ask("12345");
//! let (answer, _) = tokio::join!(answer, server.write_all(b"15\n"));
//! assert_eq!(answer?, Some(Reply::Sum(15)));
//!
//! let answer = connection.ask(Command::Quit.name());
//! let (answer, _) = tokio::join!(answer, server.write_all(b"Thank You .. See You soon !! \n"));
//! assert_eq!(answer?, Some(Reply::Farewell));
//! # Ok(())
//! # }
//! ```

mod connection;
mod datagrams;
mod error;
mod fit;
mod incoming;
mod pipe;

pub use connection::Connection;
pub use datagrams::{Datagrams, ask_datagram};
pub use error::Error;
pub use pipe::Pipe;
