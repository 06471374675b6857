//! A conversation with a server, one request at a time.

use std::time::Duration;

use chime_protocol::{Reply, Requests};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time;

use crate::error::Error;
use crate::fit;
use crate::incoming::Incoming;
use crate::pipe::Pipe;

/// A conversation with a server, one request at a time.
///
/// After an error, or when a future of it was dropped half-way, it is of no more use: a late reply would
/// be taken for the next one.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    incoming: Incoming,
    timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits to be welcomed by the server to which `stream` has just been connected.
    ///
    /// `timeout` is the longest wait for the welcome, and later for each answer.
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
    /// # Panics
    ///
    /// When there is a line end in `line`, which would make it several requests.
    pub async fn ask(&mut self, line: &str) -> Result<Option<Reply>, Error> {
        assert!(!line.contains('\n'), "a request is one line");
        let line = format!("{line}\n");
        let request = Requests::new()
            .next(&mut line.as_bytes())
            .expect("a line that ends is a request");
        if let Some(reply) = self.incoming.next()? {
            return Err(Error::Unexpected(reply));
        }
        match self.exchange(line.as_bytes()).await? {
            Some(reply) if fit::answers(reply, request) => Ok(Some(reply)),
            Some(reply) => Err(Error::Unexpected(reply)),
            None if fit::is_quit(request) => Ok(None),
            None => Err(Error::Closed),
        }
    }

    /// Goes on with the requests that `input` gives, a line each, sent ahead of their replies.
    pub fn pipe<R: AsyncRead + Unpin>(self, input: R) -> Pipe<S, R> {
        Pipe::new(self.stream, self.incoming, input, self.timeout)
    }

    /// Sends `bytes` and waits for one reply; `None` when the server closes instead.
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
