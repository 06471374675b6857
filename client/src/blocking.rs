//! The blocking client: each call blocks until its reply arrives.
//!
//! Each [`Connection`] runs the asynchronous client on a tokio runtime of its own. All functions panic when
//! called from within another tokio runtime.
//!
//! ```
//! use std::time::Duration;
//!
//! use chime_client::blocking::{self, Connection};
//! use chime_protocol::{Command, Reply};
//!
//! # use chime_server::{Options, Sockets};
//! # let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
//! # let sockets = Sockets::bind(&[(any, Default::default())], &[any])?;
//! # let (tcp, udp) = (sockets.tcp_addresses()?[0], sockets.udp_addresses()?[0]);
//! # let options = Options::new(Default::default, 9.try_into()?);
//! # let workers = sockets.start(1.try_into()?, &options, &Default::default())?;
//! let timeout = Duration::from_secs(10);
//! let mut connection = Connection::connect(tcp, timeout)?;
//! assert_eq!(connection.ask("12345")?, Some(Reply::Sum(15)));
//! assert_eq!(connection.sum(&b"99999"[..])?, 45);
//!
//! let reply = blocking::ask_udp(udp, Command::Day, timeout)?;
//! assert!(matches!(reply, Reply::Weekday(_)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_protocol::{Command, Reply};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::runtime::{Builder, Runtime};

use crate::{Connection as AsyncConnection, Error};

/// A TCP connection to a server, with one request at a time.
///
/// Drop it after any error except [`Error::MultipleLines`].
#[derive(Debug)]
pub struct Connection {
    connection: AsyncConnection<TcpStream>,
    runtime: Runtime,
}

impl Connection {
    /// Connects and waits for the welcome, as [`crate::Connection::connect`] does.
    pub fn connect(server: impl ToSocketAddrs, timeout: Duration) -> Result<Connection, Error> {
        let runtime = runtime()?;
        let connection = runtime.block_on(AsyncConnection::connect(server, timeout))?;
        Ok(Connection {
            connection,
            runtime,
        })
    }

    /// Sends one request and waits for its reply, as [`crate::Connection::ask`] does.
    pub fn ask(&mut self, line: &str) -> Result<Option<Reply>, Error> {
        self.runtime.block_on(self.connection.ask(line))
    }

    /// Returns the weekday on the server, as [`crate::Connection::day`] does.
    pub fn day(&mut self) -> Result<Weekday, Error> {
        self.runtime.block_on(self.connection.day())
    }

    /// Returns the date on the server, as [`crate::Connection::date`] does.
    pub fn date(&mut self) -> Result<NaiveDate, Error> {
        self.runtime.block_on(self.connection.date())
    }

    /// Returns the time of day on the server, as [`crate::Connection::time`] does.
    pub fn time(&mut self) -> Result<NaiveTime, Error> {
        self.runtime.block_on(self.connection.time())
    }

    /// Returns the date and the time of day on the server, as [`crate::Connection::now`] does.
    pub fn now(&mut self) -> Result<NaiveDateTime, Error> {
        self.runtime.block_on(self.connection.now())
    }

    /// Sums the digits read from `input`, as [`crate::Connection::sum_ignoring_white_space`] does.
    pub fn sum_ignoring_white_space(&mut self, input: impl Read + Unpin) -> Result<u64, Error> {
        let input = BlockingReader(input);
        self.runtime
            .block_on(self.connection.sum_ignoring_white_space(input))
    }

    /// Sums the digits read from `input`, as [`crate::Connection::sum`] does.
    pub fn sum(&mut self, input: impl Read + Unpin) -> Result<u64, Error> {
        self.runtime
            .block_on(self.connection.sum(BlockingReader(input)))
    }
}

/// Sends a command over UDP and waits for the reply, as [`crate::ask_udp`] does.
pub fn ask_udp(
    server: impl ToSocketAddrs,
    command: Command,
    timeout: Duration,
) -> Result<Reply, Error> {
    runtime()?.block_on(crate::ask_udp(server, command, timeout))
}

fn runtime() -> Result<Runtime, Error> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Adapts a blocking reader. It blocks the polling thread, which has no other task meanwhile.
struct BlockingReader<R>(R);

impl<R: Read + Unpin> AsyncRead for BlockingReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = loop {
            match self.0.read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}
