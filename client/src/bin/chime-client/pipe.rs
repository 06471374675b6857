//! Requests from a pipe: each line of standard input.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::time::Instant;

use tokio_util::io::InspectReader;

use crate::cli_error::CliError;
use crate::endpoint::Endpoint;
use crate::names::ExpandAliases;
use crate::output_format::OutputFormat;

/// The most bytes of a request that is kept for the output.
const REQUEST_MAX: usize = 256;

/// Sends each line of standard input as a request, ahead of the replies, and prints the replies.
pub(crate) async fn run(format: OutputFormat, endpoint: &Endpoint) -> Result<u8, CliError> {
    let requests = RefCell::new(Requests::default());
    let input = ExpandAliases::new(tokio::io::stdin());
    let input = InspectReader::new(input, |bytes| {
        if format == OutputFormat::Json {
            requests.borrow_mut().push(bytes);
        }
    });
    let mut pipe = endpoint.greet().await?.pipe(input);
    let start = Instant::now();
    let mut output = BufWriter::new(io::stdout().lock());
    let mut exit_code = 0;
    loop {
        let next = tokio::select! {
            biased;
            next = pipe.next() => next,
            // The next reply is not there yet: show the replies so far before waiting.
            () = async {} => {
                output.flush().map_err(CliError::Output)?;
                pipe.next().await
            }
        };
        match next {
            Ok(Some(reply)) => {
                // Requests overlap, so a reply has no duration of its own.
                endpoint.print_step("replied, since the welcome,", start.elapsed());
                let request = requests.borrow_mut().next();
                exit_code =
                    exit_code.max(format.write(&mut output, request.as_deref(), Some(reply))?);
            }
            end => {
                output.flush().map_err(CliError::Output)?;
                end?;
                return Ok(exit_code);
            }
        }
    }
}

/// The requests without a reply. Their number is bounded by the buffers between here and the server.
#[derive(Default)]
struct Requests {
    /// The text of each request, if it is kept.
    lines: VecDeque<Option<String>>,
    /// The start of the last line, at most two bytes more than are kept: CR, and one that makes it too long.
    unfinished: Vec<u8>,
}

impl Requests {
    /// Adds bytes of the input.
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n");
            let room = REQUEST_MAX + 2 - self.unfinished.len();
            let text = line.unwrap_or(piece);
            self.unfinished.extend(&text[..text.len().min(room)]);
            if line.is_some() {
                let line = self.finish();
                self.lines.push_back(line);
            }
        }
    }

    /// Returns the text of the next request, if it is kept.
    fn next(&mut self) -> Option<String> {
        // The last line may have no newline.
        self.lines.pop_front().unwrap_or_else(|| self.finish())
    }

    /// Ends the line, and returns it without CR if it is short UTF-8.
    fn finish(&mut self) -> Option<String> {
        let mut line = mem::take(&mut self.unfinished);
        line.pop_if(|last| *last == b'\r');
        let is_kept = line.len() <= REQUEST_MAX;
        is_kept.then(|| String::from_utf8(line).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_MAX, Requests};

    #[test]
    fn requests_are_kept_up_to_a_length_however_the_input_is_cut() {
        let longest = "7".repeat(REQUEST_MAX);
        let input = format!("day\r\n\n{longest}\r\n{longest}8\n\u{e9}\nlast");
        let mut input = input.into_bytes();
        let position = input.iter().position(|byte| *byte == 0xc3);
        for piece_bytes in 1..=input.len() {
            let mut requests = Requests::default();
            for piece in input.chunks(piece_bytes) {
                requests.push(piece);
            }
            for expected in [
                Some("day"),
                Some(""),
                Some(&longest),
                None,
                Some("\u{e9}"),
                Some("last"),
            ] {
                assert_eq!(requests.next().as_deref(), expected, "{piece_bytes}");
            }
        }
        // Not UTF-8.
        input[position.expect("it is there")] = 0xff;
        let mut requests = Requests::default();
        requests.push(&input);
        assert_eq!(requests.lines[4], None);
    }
}
