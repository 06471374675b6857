//! Where the server is, and the real sockets that lead there.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chime_client::Connection;
use chime_client::addresses::{self, Family};
use chime_protocol::Reply;
use tokio::net::TcpStream;
use tokio::time;

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::server_address::ServerAddress;

/// How to reach the server.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) server: ServerAddress,
    /// The address family to use; both if none.
    pub(crate) family: Option<Family>,
    /// The longest wait for each thing.
    pub(crate) timeout: Duration,
    /// Whether standard error tells what happens and how long it takes.
    pub(crate) is_verbose: bool,
}

impl Endpoint {
    /// Connects and waits for the welcome.
    pub(crate) async fn greet(&self) -> Result<Connection<TcpStream>, CliError> {
        let stream = self.connect().await?;
        let what = format!("welcomed with '{}'", Reply::Welcome);
        let greeted = Connection::greet(stream, self.timeout);
        Ok(self.timed(&what, greeted).await?)
    }

    /// Connects to the first address that accepts a connection.
    async fn connect(&self) -> Result<TcpStream, CliError> {
        let connect = async |address| {
            let connected = self.in_time(TcpStream::connect(address));
            let what = format!("connected to {address}");
            let stream = self.timed(&what, connected).await?;
            // A request is written whole: to hold it back would only make it late.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        self.try_each_address(async |address| connect(address).await.map_err(CliError::Connect))
            .await
    }

    /// Tells how long `action` has taken, if it went well and that is to be told.
    pub(crate) async fn timed<T, E>(
        &self,
        what: &str,
        action: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let result = action.await;
        if result.is_ok() {
            self.print_step(what, start.elapsed());
        }
        result
    }

    /// Tells what has happened and how long it has taken, if that is to be told.
    pub(crate) fn print_step(&self, what: &str, time: Duration) {
        if self.is_verbose {
            eprint_line(&format!("{what} in {time:.1?}"));
        }
    }

    /// Tries the addresses of the server in turn until one can be connected to.
    pub(crate) async fn try_each_address<T>(
        &self,
        attempt: impl AsyncFn(SocketAddr) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let server = self.server.host_and_port();
        let addresses = self.in_time(addresses::resolve(server, self.family)).await;
        let addresses = addresses.map_err(CliError::Resolve)?;
        let result =
            addresses::try_each(&addresses, async |address| match attempt(address).await {
                Err(CliError::Connect(error)) => Err(error),
                result => Ok(result),
            });
        result.await.map_err(CliError::Connect)?
    }

    async fn in_time<T>(&self, action: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let result = time::timeout(self.timeout, action).await;
        result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
