//! A conversation with a server, one request at a time.

use std::io;
use std::time::Duration;

use chime_protocol::{Reply, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time;

use crate::addresses;
use crate::digits::Digits;
use crate::error::Error;
use crate::incoming::Incoming;
use crate::matching;
use crate::pipe::{BLOCK_BYTES, Pipe};

/// A conversation with a server, one request at a time.
///
/// After an error other than [`Error::MultipleLines`], or when a future of it was dropped half-way, it is
/// of no more use: a late reply would be taken for the next one.
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
            addresses::try_each(&addresses, async |address| {
                TcpStream::connect(address).await
            })
            .await
        };
        let stream = in_time(timeout, connect).await?;
        // A request is written whole: Nagle's algorithm would only delay it.
        stream.set_nodelay(true)?;
        Connection::greet(stream, timeout).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits to be welcomed by the server to which `stream` has just been connected.
    ///
    /// `timeout` bounds the wait for the whole welcome, and later for each whole reply.
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

    /// Sends the request `line`, to which this adds the line end, and waits for its reply.
    ///
    /// `None` means that the request was to quit, and that the server closed without a farewell. After
    /// a request to quit there are no more answers.
    ///
    /// A `line` with a line end in it is refused with [`Error::MultipleLines`] before anything is sent.
    pub async fn ask(&mut self, line: &str) -> Result<Option<Reply>, Error> {
        if line.contains('\n') {
            return Err(Error::MultipleLines);
        }
        let request = Request::of_line(line);
        self.check_no_reply_unread()?;
        match self.exchange(format!("{line}\n").as_bytes()).await? {
            Some(reply) if matching::is_answer_to(reply, request) => Ok(Some(reply)),
            Some(reply) => Err(Error::Unexpected(reply)),
            None if request.is_quit() => Ok(None),
            None => Err(Error::Closed),
        }
    }

    /// Sends the digits that `input` gives, as many as there are, and waits for their sum.
    ///
    /// White space at the end of the input does not count; any other byte that is no digit is an error.
    /// It waits without limit for an input that has nothing to give, but a server does not wait long for
    /// a line that stands still. The timeout bounds each stall while digits are sent, and then the whole
    /// reply.
    pub async fn sum(&mut self, mut input: impl AsyncRead + Unpin) -> Result<u64, Error> {
        self.check_no_reply_unread()?;
        let mut digits = Digits::default();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let length = input.read(&mut block).await.map_err(Error::Input)?;
            if length == 0 {
                break;
            }
            self.send(digits.take(&block[..length])?).await?;
        }
        digits.finish()?;
        match self.exchange(b"\n").await? {
            Some(Reply::Sum(sum)) => Ok(sum),
            Some(reply @ (Reply::CommandError | Reply::DigitError)) => {
                Err(Error::ErrorReply(reply))
            }
            Some(reply) => Err(Error::Unexpected(reply)),
            None => Err(Error::Closed),
        }
    }

    /// Goes on with the requests that `input` gives, a line each, sent ahead of their replies.
    pub fn pipe<R: AsyncRead + Unpin>(self, input: R) -> Pipe<S, R> {
        Pipe::new(self.stream, self.incoming, input, self.timeout)
    }

    /// Sees that no reply has come to what has not been asked.
    fn check_no_reply_unread(&mut self) -> Result<(), Error> {
        match self.incoming.next()? {
            None => Ok(()),
            Some(reply) => Err(Error::Unexpected(reply)),
        }
    }

    /// Sends a part of a line. As long as bytes move, it may take its time.
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

    /// Sends `bytes` and waits for one reply; `None` when the server closes instead.
    ///
    /// One deadline covers all of it, so a server that drips bytes does not put it off.
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

/// Does what comes before anything has been said, in at most this time.
pub(crate) async fn in_time<T>(
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
