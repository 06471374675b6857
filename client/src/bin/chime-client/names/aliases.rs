//! A reader that expands aliases in a stream of request lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chime_protocol::Command;
use memchr::memchr;
use tokio::io::{AsyncRead, ReadBuf};

/// The alias of `send time`.
pub(crate) const NOW: &str = "now";

/// The most bytes taken from the input at once.
const BLOCK_BYTES: usize = 65_536;

/// Reads `input` and replaces the alias `now` at the start of a line with `send time`.
///
/// Lines may be of any length: at most the three letters of `now` are buffered.
pub(crate) struct ExpandAliases<R> {
    input: R,
    block: Box<[u8]>,
    expander: Expander,
    expanded: Vec<u8>,
    /// The length of the part of `expanded` already returned.
    given: usize,
    is_ended: bool,
}

impl<R> ExpandAliases<R> {
    pub(crate) fn new(input: R) -> ExpandAliases<R> {
        ExpandAliases {
            input,
            block: vec![0; BLOCK_BYTES].into(),
            expander: Expander::default(),
            expanded: Vec::new(),
            given: 0,
            is_ended: false,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ExpandAliases<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.given == this.expanded.len() && !this.is_ended {
            let mut block = ReadBuf::new(&mut this.block);
            ready!(Pin::new(&mut this.input).poll_read(context, &mut block))?;
            this.expanded.clear();
            this.given = 0;
            match block.filled() {
                [] => {
                    this.is_ended = true;
                    this.expander.finish(&mut this.expanded);
                }
                bytes => this.expander.take(bytes, &mut this.expanded),
            }
        }
        let rest = &this.expanded[this.given..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.given += length;
        Poll::Ready(Ok(()))
    }
}

/// The state within a line.
#[derive(Debug, Default)]
struct Expander {
    /// The letters of `now` that the line has begun with.
    held: Vec<u8>,
    /// Whether the line is known not to be an alias.
    is_plain: bool,
}

impl Expander {
    fn take(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while let Some((&byte, rest)) = input.split_first() {
            if self.is_plain {
                let line_end = memchr(b'\n', input);
                let (line, rest) = input.split_at(line_end.map_or(input.len(), |end| end + 1));
                output.extend(line);
                self.is_plain = line_end.is_none();
                input = rest;
            } else {
                self.take_byte(byte, output);
                input = rest;
            }
        }
    }

    /// Takes a byte of a line that may be an alias.
    fn take_byte(&mut self, byte: u8, output: &mut Vec<u8>) {
        let letter = NOW.as_bytes().get(self.held.len());
        if letter.is_some_and(|letter| letter.eq_ignore_ascii_case(&byte)) {
            self.held.push(byte);
            return;
        }
        let is_blank = matches!(byte, b' ' | b'\t');
        // A second word makes the line an invalid command, expanded or not.
        let is_word_end = is_blank || matches!(byte, b'\r' | b'\n');
        self.is_plain = byte != b'\n' && !(is_blank && self.held.is_empty());
        match is_word_end {
            true => self.finish(output),
            false => output.append(&mut self.held),
        }
        output.push(byte);
    }

    /// Writes the buffered word, expanded if it is complete.
    fn finish(&mut self, output: &mut Vec<u8>) {
        match self.held.len() == NOW.len() {
            true => output.extend(Command::SendTime.name().as_bytes()),
            false => output.extend(&self.held),
        }
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Expander;

    /// Expands an input that arrives in pieces of `piece_bytes`.
    fn expand(input: &str, piece_bytes: usize) -> String {
        let mut expander = Expander::default();
        let mut output = Vec::new();
        for piece in input.as_bytes().chunks(piece_bytes) {
            expander.take(piece, &mut output);
        }
        expander.finish(&mut output);
        String::from_utf8(output).expect("the output is UTF-8")
    }

    #[test]
    fn only_the_word_now_is_replaced_however_the_input_is_cut() {
        for (input, expanded) in [
            ("now", "send time"),
            ("day\nnow\nNOW\r\n", "day\nsend time\nsend time\r\n"),
            (" \tnow \nnow", " \tsend time \nsend time"),
            ("no", "no"),
            ("no\nnow", "no\nsend time"),
            ("nnow\n now?\nnowhere\n", "nnow\n now?\nnowhere\n"),
            ("day now\nnonow\n\nnow\n", "day now\nnonow\n\nsend time\n"),
            ("\rnow\n12345\nn", "\rnow\n12345\nn"),
        ] {
            for piece_bytes in 1..=input.len() {
                assert_eq!(expand(input, piece_bytes), expanded, "{piece_bytes}");
            }
        }
    }
}
