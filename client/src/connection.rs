//! A connection with one request at a time.

use std::io;
use std::time::Duration;

use chime_protocol::{Command, Reply, Request};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time;

use crate::addresses;
use crate::digits::Digits;
use crate::error::Error;
use crate::incoming::Incoming;
use crate::pipe::{BLOCK_BYTES, Pipe};

/// A connection to a server, with one request at a time.
///
/// Drop it after any error except [`Error::MultipleLines`], and after dropping one of its futures before it
/// completes: a late reply would be taken for the reply to the next request.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    incoming: Incoming,
    timeout: Duration,
}

impl Connection<TcpStream> {
    /// Connects to the first address of `server` that accepts a connection, such as `"localhost:9990"`, and
    /// waits for the welcome. IPv4 addresses are tried first.
    ///
    /// `timeout` bounds resolving and connecting together, then the welcome, and later each whole reply.
    pub async fn connect(
        server: impl ToSocketAddrs,
        timeout: Duration,
    ) -> Result<Connection<TcpStream>, Error> {
        let connect = async {
            let addresses = addresses::resolve(server, None).await?;
            addresses::try_each(&addresses, TcpStream::connect).await
        };
        let stream = with_timeout(timeout, connect).await?;
        // A request is written whole: Nagle's algorithm would only delay it.
        stream.set_nodelay(true)?;
        Connection::greet(stream, timeout).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits for the welcome on a newly connected `stream`.
    ///
    /// `timeout` bounds the whole welcome, and later each whole reply.
    pub async fn greet(stream: S, timeout: Duration) -> Result<Connection<S>, Error> {
        let mut connection = Connection {
            stream,
            incoming: Incoming::new(),
            timeout,
        };
        match connection.exchange(b"").await? {
            Some(Reply::Welcome) => Ok(connection),
            Some(Reply::Full) => Err(Error::Full),
            Some(reply) => Err(Error::Unexpected(reply)),
            None => Err(Error::Closed),
        }
    }

    /// Sends the request `line`, followed by a newline, and waits for its reply.
    ///
    /// Returns `None` if the request was `quit` or `exit` and the server closed without a farewell. The server
    /// replies to no request after those.
    ///
    /// Returns [`Error::MultipleLines`] if `line` contains a newline; nothing is sent then.
    pub async fn ask(&mut self, line: &str) -> Result<Option<Reply>, Error> {
        if line.contains('\n') {
            return Err(Error::MultipleLines);
        }
        let request = Request::of_line(line);
        self.check_no_unsolicited_reply()?;
        match self.exchange(format!("{line}\n").as_bytes()).await? {
            Some(reply) if request.is_answered_by(reply) => Ok(Some(reply)),
            Some(reply) => Err(Error::Unexpected(reply)),
            None if request.is_quit() => Ok(None),
            None => Err(Error::Closed),
        }
    }

    /// Returns the weekday on the server.
    ///
    /// This and the other methods for one command return [`Error::ErrorReply`] if the server does not offer it.
    pub async fn day(&mut self) -> Result<Weekday, Error> {
        match self.ask_command(Command::Day).await? {
            Reply::Weekday(day) => Ok(day),
            error => Err(Error::ErrorReply(error)),
        }
    }

    /// Returns the date on the server, of a year from 1970 to 2069: the reply has two of its digits.
    pub async fn date(&mut self) -> Result<NaiveDate, Error> {
        match self.ask_command(Command::Date).await? {
            Reply::Date(date) => Ok(date),
            error => Err(Error::ErrorReply(error)),
        }
    }

    /// Returns the time of day on the server, in whole seconds.
    pub async fn time(&mut self) -> Result<NaiveTime, Error> {
        match self.ask_command(Command::Time).await? {
            Reply::Time(time) => Ok(time),
            error => Err(Error::ErrorReply(error)),
        }
    }

    /// Returns the date and the time of day on the server, in microseconds.
    pub async fn now(&mut self) -> Result<NaiveDateTime, Error> {
        match self.ask_command(Command::SendTime).await? {
            Reply::DateTime(now) => Ok(now),
            error => Err(Error::ErrorReply(error)),
        }
    }

    /// Sends a command that does not end the conversation, and returns its reply or the server's error.
    async fn ask_command(&mut self, command: Command) -> Result<Reply, Error> {
        self.ask(command.name()).await?.ok_or(Error::Closed)
    }

    /// Sends the digits read from `input` as one request, in constant memory, and waits for their sum.
    ///
    /// White space at the end of the input is ignored; any other byte that is not a digit is an error.
    ///
    /// The timeout bounds each stalled write, and then the whole reply. Reading from `input` has no timeout, but
    /// a server closes a connection whose line makes no progress.
    pub async fn sum(&mut self, input: impl AsyncRead + Unpin) -> Result<u64, Error> {
        self.sum_digits(input, Digits::default()).await
    }

    /// Sums digits as [`Connection::sum`] does, and ignores white space between them, too.
    pub async fn sum_ignoring_white_space(
        &mut self,
        input: impl AsyncRead + Unpin,
    ) -> Result<u64, Error> {
        self.sum_digits(input, Digits::ignoring_white_space()).await
    }

    async fn sum_digits(
        &mut self,
        mut input: impl AsyncRead + Unpin,
        mut digits: Digits,
    ) -> Result<u64, Error> {
        self.check_no_unsolicited_reply()?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let length = input.read(&mut block).await.map_err(Error::Input)?;
            if length == 0 {
                break;
            }
            self.send(digits.take(&mut block[..length])?).await?;
        }
        digits.finish()?;
        match self.exchange(b"\n").await? {
            Some(Reply::Sum(sum)) => Ok(sum),
            Some(reply) if reply.is_error() => Err(Error::ErrorReply(reply)),
            Some(reply) => Err(Error::Unexpected(reply)),
            None => Err(Error::Closed),
        }
    }

    /// Pipelines the requests read from `input`, one per line.
    pub fn pipe<R: AsyncRead + Unpin>(self, input: R) -> Pipe<S, R> {
        Pipe::new(self.stream, self.incoming, input, self.timeout)
    }

    /// Returns an error if a reply has been received without a request.
    fn check_no_unsolicited_reply(&mut self) -> Result<(), Error> {
        match self.incoming.next()? {
            None => Ok(()),
            Some(reply) => Err(Error::Unexpected(reply)),
        }
    }

    /// Sends a part of a line. The timeout restarts with each write that makes progress.
    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match time::timeout(self.timeout, self.stream.write_buf(&mut bytes)).await {
                Ok(Ok(0)) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(written) => written?,
                Err(_) => return Err(self.incoming.timed_out(self.timeout)),
            };
        }
        Ok(())
    }

    /// Sends `bytes` and waits for one reply; returns `None` at EOF.
    ///
    /// One deadline covers both, so a server that writes slowly does not extend it.
    async fn exchange(&mut self, bytes: &[u8]) -> Result<Option<Reply>, Error> {
        let reply = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await?;
            while self.incoming.fill(&mut self.stream).await? {
                if let Some(reply) = self.incoming.next()? {
                    return Ok(Some(reply));
                }
            }
            Ok(None)
        };
        match time::timeout(self.timeout, reply).await {
            Ok(reply) => reply,
            Err(_) => Err(self.incoming.timed_out(self.timeout)),
        }
    }
}

/// Awaits `action`, or returns [`Error::TimedOut`] after `timeout`.
pub(crate) async fn with_timeout<T>(
    timeout: Duration,
    action: impl Future<Output = io::Result<T>>,
) -> Result<T, Error> {
    let result = time::timeout(timeout, action).await;
    let result = result.map_err(|_| Error::TimedOut {
        after: timeout,
        mid_line: false,
    })?;
    Ok(result?)
}
