//! The receiving side of a connection.

use std::ops::Range;
use std::time::Duration;

use chime_protocol::{Reply, ReplyDecoder};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::Error;

/// The most bytes of one read.
const BUFFER_BYTES: usize = 4096;

/// The bytes received from a server, and the decoder of the replies in them.
#[derive(Debug)]
pub(crate) struct Incoming {
    replies: ReplyDecoder,
    buffer: Box<[u8]>,
    /// The part of the buffer not yet decoded.
    unread: Range<usize>,
}

impl Incoming {
    pub(crate) fn new() -> Incoming {
        Incoming {
            replies: ReplyDecoder::new(),
            buffer: vec![0; BUFFER_BYTES].into(),
            unread: 0..0,
        }
    }

    /// Returns the next reply in the buffer; `None` if more must be read first.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Error> {
        let mut bytes = &self.buffer[self.unread.clone()];
        let reply = self.replies.next(&mut bytes);
        self.unread.start = self.unread.end - bytes.len();
        reply
            .transpose()
            .map_err(|unknown| Error::UnknownReply(unknown.line().to_vec()))
    }

    /// Reads more, and returns false at EOF. Call this only after [`Incoming::next`] returned `None`.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub(crate) async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<bool, Error> {
        let length = stream.read(&mut self.buffer).await?;
        self.unread = 0..length;
        if length == 0 && self.is_mid_line() {
            return Err(Error::Closed);
        }
        Ok(length > 0)
    }

    /// Returns the error of a timeout.
    pub(crate) fn timed_out(&self, after: Duration) -> Error {
        Error::TimedOut {
            after,
            mid_line: self.is_mid_line(),
        }
    }

    fn is_mid_line(&self) -> bool {
        !self.replies.unfinished().is_empty()
    }
}
