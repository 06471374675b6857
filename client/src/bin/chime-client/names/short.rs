//! A reader that writes lines that are short for a request in full.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chime_protocol::Command;
use memchr::memchr;
use tokio::io::{AsyncRead, ReadBuf};

use super::NOW;

/// The most bytes taken from the input at once.
const BLOCK_BYTES: usize = 65_536;

/// Gives what `input` gives, with `send time` in place of `now` where that begins a line.
///
/// Lines may be of any length: nothing is held back but the letters of `now`.
pub(crate) struct ExpandShort<R> {
    input: R,
    block: Box<[u8]>,
    expander: Expander,
    expanded: Vec<u8>,
    /// How much of `expanded` has been given.
    given: usize,
    is_ended: bool,
}

impl<R> ExpandShort<R> {
    pub(crate) fn new(input: R) -> ExpandShort<R> {
        ExpandShort {
            input,
            block: vec![0; BLOCK_BYTES].into(),
            expander: Expander::default(),
            expanded: Vec::new(),
            given: 0,
            is_ended: false,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ExpandShort<R> {
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

/// Where in a line its input is.
#[derive(Debug, Default)]
struct Expander {
    /// The letters of `now` that the line has begun with.
    held: Vec<u8>,
    /// Whether the line is not short for anything.
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

    /// Takes a byte of a line that may be short.
    fn take_byte(&mut self, byte: u8, output: &mut Vec<u8>) {
        let letter = NOW.as_bytes().get(self.held.len());
        if letter.is_some_and(|letter| letter.eq_ignore_ascii_case(&byte)) {
            self.held.push(byte);
            return;
        }
        let is_blank = matches!(byte, b' ' | b'\t');
        // A word after it makes the line invalid, whichever way its first is written.
        let is_word_end = is_blank || matches!(byte, b'\r' | b'\n');
        self.is_plain = byte != b'\n' && !(is_blank && self.held.is_empty());
        match is_word_end {
            true => self.finish(output),
            false => output.append(&mut self.held),
        }
        output.push(byte);
    }

    /// Ends the word that is held back.
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

    /// What comes of an input that is cut into pieces of such a size.
    fn expand(input: &str, piece_bytes: usize) -> String {
        let mut expander = Expander::default();
        let mut output = Vec::new();
        for piece in input.as_bytes().chunks(piece_bytes) {
            expander.take(piece, &mut output);
        }
        expander.finish(&mut output);
        String::from_utf8(output).expect("text remains text")
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
