//! The client's side: decodes the replies in a server's bytes.

use core::{fmt, mem};

use crate::reply::Reply;

/// Splits a server's bytes into lines and parses the reply in each, in constant memory.
///
/// The server is not trusted: a line that is not a reply of this protocol is an [`UnknownReply`], and so is the
/// start of a line that is longer than any reply.
///
/// ```
/// use chime_protocol::{ReplyDecoder, Reply};
///
/// let mut replies = ReplyDecoder::new();
/// let mut input: &[u8] = b"Welcome to the server\n1";
/// assert_eq!(replies.next(&mut input), Some(Ok(Reply::Welcome)));
/// assert_eq!(replies.next(&mut input), None);
/// assert_eq!(replies.unfinished(), b"1");
/// let mut input: &[u8] = b"5\n";
/// assert_eq!(replies.next(&mut input), Some(Ok(Reply::Sum(15))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyDecoder {
    line: [u8; Reply::TEXT_MAX],
    length: usize,
}

impl ReplyDecoder {
    /// Creates a decoder for the start of a stream.
    pub const fn new() -> ReplyDecoder {
        ReplyDecoder {
            line: [0; Reply::TEXT_MAX],
            length: 0,
        }
    }

    /// Takes bytes off the front of `input` until a line is complete or too long, and returns its reply.
    /// Returns `None` if `input` is used up before that.
    ///
    /// After an [`UnknownReply`], callers should close the connection. Later bytes are decoded as another line.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Reply, UnknownReply>> {
        let capacity = Reply::TEXT_MAX - self.length;
        let line_end = input
            .iter()
            .take(capacity + 1)
            .position(|byte| *byte == b'\n');
        let (text, rest) = input.split_at(line_end.unwrap_or(capacity.min(input.len())));
        self.line[self.length..][..text.len()].copy_from_slice(text);
        self.length += text.len();
        *input = rest;
        if rest.is_empty() {
            return None;
        }
        let line = mem::take(self);
        if line_end.is_none() {
            return Some(Err(UnknownReply(line)));
        }
        *input = &rest[1..];
        Some(Reply::parse(line.unfinished()).ok_or(UnknownReply(line)))
    }

    /// Returns the bytes of the line that has begun but not ended.
    pub fn unfinished(&self) -> &[u8] {
        &self.line[..self.length]
    }
}

impl Default for ReplyDecoder {
    fn default() -> ReplyDecoder {
        ReplyDecoder::new()
    }
}

/// The error for a line that is not a reply of this protocol, or for the start of a line that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownReply(ReplyDecoder);

impl UnknownReply {
    /// Returns the bytes of the line, at most [`Reply::TEXT_MAX`].
    pub fn line(&self) -> &[u8] {
        self.0.unfinished()
    }
}

impl fmt::Display for UnknownReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a reply of this protocol: '{}'",
            self.line().escape_ascii()
        )
    }
}

impl core::error::Error for UnknownReply {}
