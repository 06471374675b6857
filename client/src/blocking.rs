//! The same client for programs that are not asynchronous: each call waits for its answer.
//!
//! A runtime of its own drives the code of the asynchronous client, so nothing here may be called from
//! within another runtime of tokio.
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
//! let answer = blocking::ask_udp(udp, Command::Day, timeout)?;
//! assert!(matches!(answer, Reply::Weekday(_)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_protocol::{Command, Reply};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::runtime::{Builder, Runtime};

use crate::{Connection as AsyncConnection, Error};

/// A conversation with a server over TCP, one request at a time.
///
/// After an error other than [`Error::MultipleLines`] it is of no more use.
#[derive(Debug)]
pub struct Connection {
    connection: AsyncConnection<TcpStream>,
    runtime: Runtime,
}

impl Connection {
    /// Connects and waits to be welcomed, as [`crate::Connection::connect`] does.
    pub fn connect(server: impl ToSocketAddrs, timeout: Duration) -> Result<Connection, Error> {
        let runtime = runtime()?;
        let connection = runtime.block_on(AsyncConnection::connect(server, timeout))?;
        Ok(Connection {
            connection,
            runtime,
        })
    }

    /// Asks one request, as [`crate::Connection::ask`] does.
    pub fn ask(&mut self, line: &str) -> Result<Option<Reply>, Error> {
        self.runtime.block_on(self.connection.ask(line))
    }

    /// Asks for the sum of the digits that `input` gives, as [`crate::Connection::sum`] does.
    pub fn sum(&mut self, input: impl Read + Unpin) -> Result<u64, Error> {
        self.runtime
            .block_on(self.connection.sum(BlockingReader(input)))
    }
}

/// Asks a command over UDP, as [`crate::ask_udp`] does.
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

/// Reads on the thread that polls, which has nothing else to do until there is something to send.
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
