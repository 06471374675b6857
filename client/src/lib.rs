//! A client for the chime protocol: typed replies over TCP, UDP, or any stream.
//!
//! The crate [`chime_protocol`] specifies the protocol, with every request and reply. The command `chime-client`,
//! in `src/bin`, is built on this library.
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
//! let reply = ask_udp(udp, Command::Day, timeout).await?;
//! assert!(matches!(reply, Reply::Weekday(_)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Shape
//!
//! - [`Connection`] sends one request at a time and returns its reply. [`Connection::day`], `date`, `time` and `now` return
//!   values of chrono. [`Connection::sum`] sums the digits of a
//!   reader.
//! - [`Pipe`], returned by [`Connection::pipe`], pipelines the requests of a reader, in constant memory.
//! - [`ask_udp`] sends one request over UDP, with retries.
//! - [`blocking`] has [`blocking::Connection`] and [`blocking::ask_udp`] for programs that are not asynchronous.
//! - [`addresses`] resolves the name of a server, and tries its addresses in turn.
//!
//! [`Connection::greet`] takes any stream, and [`ask_datagram`] any implementation of [`Datagrams`]. All deadlines
//! use tokio's clock. So deterministic simulations run the same code over a simulated network.
//!
//! A server is not trusted. Every wait for it has a deadline, no line is buffered beyond the longest reply, and
//! any other reply than the expected one is an [`Error`], whose message escapes the bytes of the server.
//!
//! # What this crate is not
//!
//! It is not a connection pool: it never reconnects, and retries over UDP only. It spawns no tasks, prints
//! nothing, and reads no configuration.

pub mod addresses;
pub mod blocking;
mod connection;
mod datagrams;
mod digits;
mod error;
mod incoming;
mod pipe;

pub use connection::Connection;
pub use datagrams::{Datagrams, ask_datagram, ask_udp};
pub use error::Error;
pub use pipe::Pipe;
