//! The client's side of chime, for programs: typed answers over TCP, UDP, or any stream.
//!
//! [`Connection`] asks one request at a time, and sums what a reader gives. [`Connection::pipe`] sends
//! requests as they come, ahead of their replies, in constant memory. [`ask_udp`] asks for the time where
//! datagrams may get lost. [`blocking`] is the same for programs that are not asynchronous. The protocol
//! itself, with every request and reply, is specified by the crate [`chime_protocol`].
//!
//! ```
//! use std::time::Duration;
//!
//! use chime_client::{Connection, ask_udp};
//! use chime_protocol::{Command, Reply};
//!
//! # use chime_server::{Options, Sockets};
//! # let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
//! # let sockets = Sockets::bind(&[(any, Default::default())], &[any])?;
//! # let (tcp, udp) = (sockets.tcp_addresses()?[0], sockets.udp_addresses()?[0]);
//! # let options = Options::new(Default::default, 9.try_into()?);
//! # let workers = sockets.start(1.try_into()?, &options, &Default::default())?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let timeout = Duration::from_secs(10);
//! let mut connection = Connection::connect(tcp, timeout).await?;
//! assert_eq!(connection.ask("12345").await?, Some(Reply::Sum(15)));
//! assert_eq!(connection.sum(&b"99999"[..]).await?, 45);
//! assert_eq!(connection.ask("quit").await?, Some(Reply::Farewell));
//!
//! let answer = ask_udp(udp, Command::Day, timeout).await?;
//! assert!(matches!(answer, Reply::Weekday(_)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate does **not** do: it starts no tasks, prints nothing, and never connects again by
//! itself. [`Connection::greet`] and [`ask_datagram`] take any stream and any datagrams, and all deadlines
//! are those of tokio, so simulated networks drive the same code as real ones.
//!
//! Nothing is assumed of a server: every wait for it has a deadline, no reply is kept beyond its length,
//! and what is no fitting reply is an [`Error`] that shows it escaped.

pub mod addresses;
pub mod blocking;
mod connection;
mod datagrams;
mod digits;
mod error;
mod incoming;
mod matching;
mod pipe;

pub use connection::Connection;
pub use datagrams::{Datagrams, ask_datagram, ask_udp};
pub use error::Error;
pub use pipe::Pipe;
