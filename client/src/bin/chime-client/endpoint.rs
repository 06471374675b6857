//! The server to use, and connections to it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chime_client::addresses::{self, Family};
use chime_client::{Connection, ask_udp};
use chime_protocol::{Command, Reply};
use tokio::net::TcpStream;
use tokio::time;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::server_address::{ServerAddress, Transport};

/// The most time to wait for the reply to a datagram that is not sent again.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// A server and how to connect to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) transport: Transport,
    pub(crate) server: ServerAddress,
    /// The address family to use; both if none.
    pub(crate) family: Option<Family>,
    /// The timeout of each step.
    pub(crate) timeout: Duration,
    /// Whether to print each step and its duration to standard error.
    pub(crate) is_verbose: bool,
}

impl Endpoint {
    /// Returns how long to wait for the reply to a request that is sent once.
    pub(crate) fn reply_timeout(&self) -> Duration {
        match self.transport {
            Transport::Tcp => self.timeout,
            Transport::Udp => self.timeout.min(DATAGRAM_TIMEOUT),
        }
    }

    /// Connects and waits for the welcome.
    pub(crate) async fn greet(&self) -> Result<Connection<TcpStream>, CliError> {
        let stream = self.connect().await?;
        let step = format!("welcomed with '{}'", Reply::Welcome);
        let greeted = Connection::greet(stream, self.timeout);
        Ok(self.timed(&step, greeted).await?)
    }

    /// Sends one command over UDP and waits for the reply.
    pub(crate) async fn ask_udp(&self, command: Command) -> Result<Reply, CliError> {
        self.try_each_address(async |address| {
            let reply = ask_udp(address, command, self.timeout);
            let step = format!("reply from {address}");
            let reply = self.timed(&step, reply).await;
            reply.map_err(CliError::from_udp)
        })
        .await
    }

    /// Connects to the first address that accepts a connection.
    async fn connect(&self) -> Result<TcpStream, CliError> {
        let connect = async |address| {
            let connected = self.with_timeout(TcpStream::connect(address));
            let step = format!("connected to {address}");
            let stream = self.timed(&step, connected).await?;
            // A request is written whole: Nagle's algorithm would only delay it.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        self.try_each_address(async |address| connect(address).await.map_err(CliError::Connect))
            .await
    }

    /// Awaits `action`, and prints its duration if it succeeds and `--verbose` is set.
    pub(crate) async fn timed<T, E>(
        &self,
        step: &str,
        action: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let result = action.await;
        if result.is_ok() {
            self.print_step(step, start.elapsed());
        }
        result
    }

    /// Prints a step and its duration if `--verbose` is set.
    pub(crate) fn print_step(&self, step: &str, time: Duration) {
        if self.is_verbose {
            eprint_line(&format!("{step} in {time:.1?}"));
        }
    }

    /// Calls `attempt` with each address of the server in turn until it returns anything but
    /// [`CliError::Connect`].
    ///
    /// Returns the last [`CliError::Connect`] if all attempts fail to connect.
    pub(crate) async fn try_each_address<T>(
        &self,
        attempt: impl AsyncFn(SocketAddr) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let server = self.server.host_and_port();
        let addresses = self
            .with_timeout(addresses::resolve(server, self.family))
            .await;
        let addresses = addresses.map_err(CliError::Resolve)?;
        let attempt = async |address| match attempt(address).await {
            Err(CliError::Connect(error)) => Err(error),
            result => Ok(result),
        };
        let result = addresses::try_each(&addresses, attempt);
        result.await.map_err(CliError::Connect)?
    }

    async fn with_timeout<T>(&self, action: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let result = time::timeout(self.timeout, action).await;
        result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
