//! The bytes that have come from a server and the replies in them.

use std::ops::Range;
use std::time::Duration;

use chime_protocol::{Reply, ReplyDecoder};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::Error;

/// The most bytes taken from the stream at once.
const BUFFER_BYTES: usize = 4096;

/// The bytes that have come from a server and the replies in them.
#[derive(Debug)]
pub(crate) struct Incoming {
    replies: ReplyDecoder,
    buffer: Box<[u8]>,
    /// The part of the buffer that has not been looked at.
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

    /// The next reply that has come; `None` when more has to be read for it.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, Error> {
        let mut bytes = &self.buffer[self.unread.clone()];
        let reply = self.replies.next(&mut bytes);
        self.unread.start = self.unread.end - bytes.len();
        reply
            .transpose()
            .map_err(|unknown| Error::UnknownReply(unknown.line().to_vec()))
    }

    /// Reads more, once [`Incoming::next`] has returned `None`; false when the server has closed.
    ///
    /// Nothing is lost when the future is dropped.
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

    /// The error of having waited for more.
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
